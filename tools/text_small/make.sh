#!/bin/bash
# Makes models/text-small from public sources: tools/text_small/make.sh
#
#   --cache DIR     what is fetched and computed on the way (default: build/text-small)
#   --sources DIR   pair and sentence files extracted before, plain or .xz, instead of fetching
#   --sets DIR      evaluation files; with them the finished folder is measured
#   --model DIR     the folder to write (default: models/text-small)
#
# Needs Debian 12 with python3 (3.11) and python3-venv, the package clients apt-get and pip, and
# https. No root. OMP_NUM_THREADS sets the threads. The last bits of the weights depend on the
# processor and on the number of threads; the figures in the model card do not.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=$root/build/text-small sources= sets= model=$root/models/text-small
while [ $# -gt 0 ]; do
    case $1 in
        --cache) cache=$2 ;;
        --sources) sources=$2 ;;
        --sets) sets=$2 ;;
        --model) model=$2 ;;
        *) sed -n '2,8p' "$0" >&2; exit 2 ;;
    esac
    shift 2
done

mkdir -p "$cache"
# Large arrays come and go in every step: keep their memory instead of returning it each time.
export MALLOC_MMAP_THRESHOLD_=1000000000 MALLOC_TRIM_THRESHOLD_=4000000000
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(nproc)}
export RAYON_NUM_THREADS=$OMP_NUM_THREADS PYTHONDONTWRITEBYTECODE=1

if ! cmp -s "$here/requirements.txt" "$cache/venv/requirements.txt"; then
    python3 -m venv "$cache/venv"
    "$cache/venv/bin/pip" install -q --disable-pip-version-check -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$cache/venv/requirements.txt"
fi
python=$cache/venv/bin/python

echo "sources"
"$python" "$here/sources.py" teacher "$cache"
if [ -z "$sources" ]; then
    "$python" "$here/sources.py" texts "$cache"
    sources=$cache/text
fi
echo "training"
"$python" "$here/train.py" "$sources" "$cache/teacher" "$cache" "$model"
if [ -n "$sets" ]; then
    "$python" "$here/evaluate.py" "$model" "$sets" --json "$cache/figures.json"
fi
echo "model folder: $(find "$model" -type f -printf '%s\n' | awk '{n += $1} END {print n}') bytes"
