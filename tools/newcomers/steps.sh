# Sourced by the paths: every step is shown, counted, and ends the path where it fails.
#
#     tools/newcomers/mobile.sh          # from an empty folder and an empty virtual environment
#     tools/newcomers/mobile.sh --here   # with the python and the graphprune that are on PATH
#
# TORCH says how PyTorch is installed, as https://pytorch.org/get-started/locally says for your machine.
set -euo pipefail

FILES=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$FILES/../.." && pwd)
TORCH=${TORCH:-torch torchvision --index-url https://download.pytorch.org/whl/cpu}
PLACE=$(mktemp -d)
STEPS=0
MOST=10 # commands from nothing to a deployed file

step() {
  STEPS=$((STEPS + 1))
  printf '\n[%d] $ %s\n' "$STEPS" "$*"
  "$@"
}

# "$1": the extras of graphprune that the path needs; the other arguments are the script's own
begin() {
  cp "$FILES"/*.py "$PLACE"
  cd "$PLACE"
  trap 'rm -rf "$PLACE"' EXIT
  if [ "${2:-}" = --here ]; then
    STEPS=3 # as many as the three below
    return
  fi
  step python3 -m venv env
  export PATH="$PLACE/env/bin:$PATH"
  # shellcheck disable=SC2086 # several words
  step pip install --quiet $TORCH
  step pip install --quiet "$ROOT[$1]"
}

finish() {
  printf '\nDeployed after %d commands.\n' "$STEPS"
  [ "$STEPS" -le "$MOST" ]
}
