# Sourced by quickstart.sh and tests/run.sh: a virtual environment with deepprompt in it. Wants Python 3.11, git and a C++ compiler.
#   DEEPPROMPT_VENV    where the environment is (default: .venv beside pyproject.toml)
#   DEEPPROMPT_TORCH   the torch to install (default: torch==2.13.0)

# deepprompt_install EXTRAS: makes the environment or brings it up to date, and activates it.
deepprompt_install() {
    local root venv python
    root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
    venv="${DEEPPROMPT_VENV:-$root/.venv}"
    python="$(command -v python3.11 || command -v python3)"
    "$python" - <<'PY' || return 2
import sys
if sys.version_info < (3, 11):
    sys.exit("error: deepprompt wants Python 3.11 or newer, found " + sys.version.split()[0])
PY
    [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
    # shellcheck disable=SC1091
    . "$venv/bin/activate"
    # Installed once per set of requirements: their hash is left in the environment.
    local wanted
    wanted="$(cat "$root/pyproject.toml" "$root/workflows/constraints.txt" | sha256sum | cut -d' ' -f1) $1 ${DEEPPROMPT_TORCH:-}"
    if [ "$(cat "$venv/.deepprompt" 2>/dev/null)" = "$wanted" ]; then
        return 0
    fi
    echo "installing into $venv (a few minutes the first time)" >&2
    local quiet=(--quiet --quiet --disable-pip-version-check) # errors only
    python -m pip install "${quiet[@]}" "pip>=24" "setuptools>=77" wheel
    # torch first and pinned: what else asks for torch would take the newest build, gigabytes of it.
    python -m pip install "${quiet[@]}" "${DEEPPROMPT_TORCH:-torch==2.13.0}"
    # DeepSpeed's operators are compiled when first used; without this switch its installation tries them all.
    DS_BUILD_OPS=0 python -m pip install "${quiet[@]}" --constraint "$root/workflows/constraints.txt" --editable "$root[$1]"
    # DeepSpeed's CPU operator is compiled here, once, not in the first run; without a compiler a run can do without it.
    if command -v g++ > /dev/null; then
        python -m workflows.cli doctor --prepare >&2
    fi
    echo "$wanted" > "$venv/.deepprompt"
}
