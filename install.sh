#!/usr/bin/env bash
# Installs SeqTrack with all its dependencies. Safe to run again: it does nothing when nothing has changed.
#
#   bash install.sh              into the active conda or virtual environment, else into .venv (made if missing)
#   bash install.sh --venv       into .venv, whatever is active
#   EXTRAS=dev,profile bash install.sh      other extras of setup.py (default: dev)
#   PYTHON=python3.12 bash install.sh       the interpreter that .venv is made with
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

EXTRAS=${EXTRAS:-dev}
PYTHON=${PYTHON:-python3}
say() { printf 'install.sh: %s\n' "$*"; }
die() { printf 'install.sh: error: %s\n' "$*" >&2; exit 1; }

case "${1:-}" in
  --venv) unset VIRTUAL_ENV CONDA_PREFIX ;;
  "") ;;
  *) die "unknown argument '$1'; known: --venv" ;;
esac

use_uv=no
command -v uv >/dev/null 2>&1 && use_uv=yes

environment=${VIRTUAL_ENV:-${CONDA_PREFIX:-}}
if [ -n "$environment" ]; then
  say "using the active environment $environment"
else
  environment=$PWD/.venv
fi
python=$environment/bin/python

command -v "$PYTHON" >/dev/null 2>&1 || [ -x "$python" ] || [ $use_uv = yes ] || die "no $PYTHON found; set PYTHON"
if [ ! -x "$python" ]; then
  say "making $environment"
  if [ $use_uv = yes ]; then uv venv --quiet --python "$PYTHON" "$environment"; else "$PYTHON" -m venv "$environment"; fi
fi
"$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' \
  || die "$("$python" --version) is not supported; use Python 3.10 to 3.13 (for example PYTHON=python3.12)"

constraints=(-c constraints.txt)
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || constraints=()  # the tested set needs 3.11
if [ -n "${UNCONSTRAINED:-}" ]; then constraints=(); fi  # keep a torch that is already there

stamp=$environment/.seqtrack-installed
wanted=$(cat setup.py constraints.txt install.sh | cksum)" extras=$EXTRAS constraints=${constraints[*]:-none} in $PWD"
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
  say "$environment is up to date"
else
  say "installing into $environment (downloads about 3 GB the first time; minutes)"
  if [ $use_uv = yes ]; then
    uv pip install --quiet --python "$python" -e ".[$EXTRAS]" ${constraints[@]+"${constraints[@]}"}
  else
    "$python" -m pip install --quiet --disable-pip-version-check -e ".[$EXTRAS]" ${constraints[@]+"${constraints[@]}"}
  fi
fi

"$python" tracking/check_install.py || die "the installed packages do not fit each other"
printf '%s' "$wanted" > "$stamp"
if [ "${VIRTUAL_ENV:-${CONDA_PREFIX:-}}" = "" ]; then say "done; use it with: source .venv/bin/activate"; else say "done"; fi
