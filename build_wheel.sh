#!/usr/bin/env bash
# Build what is shipped, into dist/:
#   polyexpose_spark-<version>-py3-none-any.whl   for pip and images
#   polyexpose_spark.zip                          the same bytes, for --py-files (Spark's executors take no .whl)
#   main.py                                       the main job
#   SHA256SUMS
# Two builds of one commit give the same bytes. PYTHON: the interpreter; by default that of .venv, else python3.
set -euo pipefail
cd "$(dirname "$0")"
umask 022 # the permissions of what the build itself writes are in the wheel

python=${PYTHON:-}
if [ -z "$python" ]; then
  if [ -x .venv/bin/python ]; then python=.venv/bin/python; else python=python3; fi
fi
"$python" -c 'import build' 2>/dev/null || {
  echo "build_wheel.sh: $python has no module 'build': run \`make setup\`, or $python -m pip install build" >&2
  exit 2
}

# Times inside the wheel: those of the last commit; outside git the first that a zip can hold (1980-01-01).
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 315532800)}
export SOURCE_DATE_EPOCH

# A copy is built, so that neither leftovers of this folder nor its permissions get into the wheel.
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
mkdir "$stage/source"
cp -RL pyproject.toml setup.py README.md LICENSE polyexpose_spark "$stage/source/"
# The page at /console is not in git; without npm or a network the wheel is built without it, and says so when asked.
"$python" -m polyexpose_spark.engine.console_assets --into "$stage/source/polyexpose_spark/engine/assets" ||
  echo "build_wheel.sh: built without the page at /console" >&2
find "$stage/source" -name __pycache__ -prune -exec rm -rf {} +
chmod -R u=rwX,go=rX "$stage/source"

# The installed setuptools where it will do: then no network is needed.
isolation=()
if "$python" -c 'import sys, setuptools; sys.exit(int(setuptools.__version__.split(".")[0]) < 77)' 2>/dev/null; then
  isolation=(--no-isolation)
fi
if ! "$python" -m build --wheel "${isolation[@]}" --outdir "$stage/built" "$stage/source" >"$stage/log" 2>&1; then
  cat "$stage/log" >&2
  exit 1
fi

built=("$stage"/built/*.whl)
wheel=$(basename "${built[0]}")
case "${#built[@]} $wheel" in
  "1 polyexpose_spark-"*"-py3-none-any.whl") ;;
  *) echo "build_wheel.sh: expected one wheel for every Python and platform (py3-none-any), got: ${built[*]##*/}" >&2; exit 1 ;;
esac

mkdir -p dist
rm -rf dist/*.whl dist/polyexpose_spark.zip dist/main.py dist/SHA256SUMS
cp "${built[0]}" "dist/$wheel"
cp "${built[0]}" dist/polyexpose_spark.zip
cp entrypoints/main.py dist/main.py
(cd dist && sha256sum "$wheel" polyexpose_spark.zip main.py >SHA256SUMS)

# What was built answers, and it is the zip that answers, not the source tree.
(
  cd "$stage"
  PYTHONPATH="$OLDPWD/dist/polyexpose_spark.zip"
  export PYTHONPATH
  case "$python" in /*) ;; */*) python="$OLDPWD/$python" ;; esac
  "$python" -c 'import polyexpose_spark as p, sys; sys.exit(".zip" not in p.__file__)'
  "$python" "$OLDPWD/dist/main.py" --help >/dev/null
)
cat dist/SHA256SUMS
