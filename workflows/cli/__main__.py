"""`python -m workflows.cli`: the command line where the entry point is not installed, as on a cluster's node."""

from __future__ import annotations

import sys

from workflows.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
