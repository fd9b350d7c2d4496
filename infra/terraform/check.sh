#!/usr/bin/env bash
# Formats, validates and tests every module and example with the real provider, in a copy: nothing is written here, and
# nothing is asked of Google. Needs terraform (or tofu) and the provider's registry.
# Usage: infra/terraform/check.sh [MODULE-OR-EXAMPLE...]   (as modules/buckets; default: all)
set -euo pipefail
cd "$(dirname "$0")"
engine=$(command -v terraform || command -v tofu) || { echo "neither terraform nor tofu is on the PATH" >&2; exit 3; }
export CHECKPOINT_DISABLE=1 TF_IN_AUTOMATION=1
# One download for all; without a lock file a cache is not used unless this is said.
export TF_PLUGIN_CACHE_DIR=${TF_PLUGIN_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/polyexpose/terraform}
export TF_PLUGIN_CACHE_MAY_BREAK_DEPENDENCY_LOCK_FILE=1
mkdir -p "$TF_PLUGIN_CACHE_DIR"

"$engine" fmt -check -recursive -diff .
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -r .. "$copy/infra"

[ $# -gt 0 ] || set -- modules/*/ examples/*/
for each in "$@"; do
  echo "== ${each%/}"
  at=$copy/infra/terraform/$each
  "$engine" -chdir="$at" init -backend=false -input=false -no-color >"$copy/init.log" || { cat "$copy/init.log" >&2; exit 1; }
  "$engine" -chdir="$at" validate -no-color
  "$engine" -chdir="$at" test -no-color
done
