#!/usr/bin/env bash
# From nothing to a registry of prompts: installs deepprompt and runs the built-in demo suite on the real MiniLM backbone.
# Arguments are passed on to `deepprompt run`, e.g. `--set seed=1`.
set -euo pipefail
cd "$(dirname "$0")/.."
. workflows/install.sh
deepprompt_install all
exec deepprompt run demo "$@"
