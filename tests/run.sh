#!/usr/bin/env bash
# Installs what the tests need and runs them all. Arguments go to pytest (e.g. `bash tests/run.sh tests/tasks`);
# with --check, ruff and mypy come first.
set -euo pipefail
cd "$(dirname "$0")/.."
. workflows/install.sh
deepprompt_install test
if [ "${1:-}" = "--check" ]; then
    shift
    ruff check .
    ruff format --check .
    mypy
fi
# In two processes: alone in one the tests leave half of two cores idle. In their order, so that the long ones start first.
exec python -m pytest --numprocesses 2 --dist loadgroup --no-loadscope-reorder "$@"
