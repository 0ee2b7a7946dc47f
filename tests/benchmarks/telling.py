"""What a benchmark of one JSON object tells: printed, and written where `--out` says."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def asking(told: str | None) -> argparse.ArgumentParser:
    """Reads the command line; `--out` is there, the rest is the benchmark's own. told: its docstring."""
    parser = argparse.ArgumentParser(description=told, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    return parser


def tell(result: Mapping[str, Any], out: Path | None) -> None:
    text = json.dumps(result, indent=2)
    print(text)
    if out is not None:
        out.write_text(text + "\n", encoding="utf-8")
