"""`python -m tests.benchmarks.search.peak COUNT`: a search of one or of 24 candidates; prints its peak memory, bytes.

The one is the widest of the 24: 64 places in every layer. Two epochs, because a peak is reached in the first.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from tests.benchmarks.device import GPU
from tests.benchmarks.search.our_side import search
from tests.benchmarks.search.setting import grid, prepared

if __name__ == "__main__":
    chosen = grid() if sys.argv[1] == "24" else grid((64,), (0,), (2e-2,))
    search([prepared("subj")], chosen, epochs=2)
    if GPU:
        print(torch.cuda.max_memory_allocated())
        sys.exit()
    # Not ru_maxrss, which a process inherits from the one that started it.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    print(1024 * int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]))
