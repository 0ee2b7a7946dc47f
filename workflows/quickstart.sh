#!/usr/bin/env bash
# From nothing to a registry of prompts: installs deepprompt and runs the built-in demo suite on the real MiniLM backbone.
# Arguments are passed on to `deepprompt run`, e.g. `--set seed=1`.
set -euo pipefail
cd "$(dirname "$0")/.."
. workflows/install.sh
deepprompt_install all
if ! command -v g++ > /dev/null; then
    echo "no g++: DeepSpeed cannot start on a processor, so each worker holds the whole backbone" >&2
    set -- --set backbone.sharding=auto "$@"
fi
exec deepprompt run demo "$@"
