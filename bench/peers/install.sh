#!/bin/sh
# Make a Python environment with the peers that the benches compare with, as far as they can be had.
#   bench/peers/install.sh FOLDER        then: make bench-encode MODEL=... PYTHON=FOLDER/bin/python
#   bench/peers/install.sh FOLDER index  those of bench-index
set -eu
[ $# = 1 ] || [ $# = 2 ] || { sed -n '2,4s/^# //p' "$0"; exit 2; }
python3 -m venv "$1"
grep -v '^#' "$(dirname "$0")/requirements${2:+-$2}.txt" | while read -r package; do
    "$1/bin/pip" install --quiet "$package" || echo "not installed: $package"
done
