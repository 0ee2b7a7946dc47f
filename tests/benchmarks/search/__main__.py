"""`python -m tests.benchmarks.search`: what a search costs and finds. Prints one JSON object and a table.

Each piece is written to the results file as soon as it is there; a second call measures what is missing (`--fresh`:
everything). Nothing is asserted. It takes about an hour on two cores, which should have nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline.backbone import resolve_dtype
from tests.benchmarks.device import machine
from tests.benchmarks.rounding import rounded
from tests.benchmarks.search import setting
from tests.benchmarks.search.pieces import PIECES
from tests.benchmarks.search.plot import draw

RESULTS = Path(__file__).parents[1] / "results" / "search.json"
GOALS = [
    ("24 candidates, searched, against one PEFT run", ("one_task", "ratio"), "≤ 2.0", "≤ 1.0"),
    ("winner's test against the best (on dev) of 24 trained fully, points", ("fully", "points"), "≥ -0.3", "0"),
    ("8 tasks x 24 candidates against 8 PEFT runs", ("eight_tasks", "ratio"), "≤ 1.6", "≤ 0.8"),
    ("5 members against one, from layer 0", ("ensemble", "members from layer 0"), "≤ 1.6", "≤ 1.2"),
    ("5 members against one, from layer 3", ("ensemble", "members from layer 3"), "≤ 1.6", "≤ 1.2"),
    ("5 members against one, from layer 5", ("ensemble", "members from layer 5"), "≤ 1.6", "≤ 1.2"),
    ("peak memory, 24 candidates against one", ("memory", "ratio"), "≤ 1.3", "≤ 1.1"),
    ("step against the bare one, fp32", ("step", "float32"), "≤ 1.05", "≤ 1.0"),
    ("step against the bare one, bfloat16", ("step", "bfloat16"), "≤ 1.05", "≤ 1.0"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--only", nargs="+", choices=list(PIECES), default=list(PIECES))
    parser.add_argument("--fresh", action="store_true", help="measure what is in the results file again")
    chosen = parser.parse_args()
    console = Console(stderr=True)
    result: dict[str, Any] = json.loads(chosen.out.read_text(encoding="utf-8")) if chosen.out.is_file() else {}
    sizes = {"rows": setting.ROWS, "epochs": setting.EPOCHS, "batch": setting.BATCH, "dev": setting.DEV}
    result |= {
        "benchmark": "search",
        "sizes": sizes,
        "ours": resolve_dtype("auto"),
        "machine": machine(),
    }
    for name in chosen.only:
        if name in result and not chosen.fresh:
            continue
        console.print(f"measuring {name} …")
        began = time.perf_counter()
        result[name] = rounded(PIECES[name](), 4)
        console.print(f"  {result[name]}  ({time.perf_counter() - began:.0f} s)", highlight=False)
        chosen.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    if "scale" in result:
        draw(result["scale"], chosen.out.with_suffix(".svg"))
    print(json.dumps(result, indent=2))
    console.print(_table(result))


def _table(result: dict[str, Any]) -> Table:
    table = Table("what", "measured", "must", "aim")
    for what, (piece, key), must, aim in GOALS:
        if piece in result:
            table.add_row(what, f"{result[piece][key]:.3f}", must, aim)
    return table


if __name__ == "__main__":
    main()
