#!/bin/sh
# Runs test runners one after the other, shows what they say, and ends with libcheck's own summary lines.
#   tools/run_tests.sh BUILD_FOLDER RUNNER... [-- SUITE...]
# Exit status 1 if any runner failed. Every runner runs, also after a failure.
set -u

build=$1
shift
runners=
while [ $# -gt 0 ]; do
    [ "$1" = -- ] && { shift; break; }
    runners="$runners $1"
    shift
done

logs=$build/test-logs
rm -rf "$logs"
mkdir -p "$logs"
summary='^[0-9]*%: Checks: [0-9]*, Failures: [0-9]*, Errors: [0-9]*$'
bad=
for r in $runners; do
    name=${r##*/}
    echo "== $name"
    if "$r" "$@" >"$logs/$name" 2>&1; then :; else bad="$bad $name"; fi
    grep -v "$summary" "$logs/$name"
    grep -q "$summary" "$logs/$name" || { echo "$name: ended without a summary"; bad="$bad $name"; }
done

[ -z "$bad" ] || echo "failed:$bad (logs in $logs)"
for r in $runners; do
    grep -h "$summary" "$logs/${r##*/}"
done
[ -z "$bad" ]
