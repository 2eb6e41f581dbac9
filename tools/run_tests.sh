#!/bin/sh
# Runs test runners one after the other; shows what one said if it failed; ends with libcheck's own summary
# lines, one a runner.
#   tools/run_tests.sh BUILD_FOLDER RUNNER... [-- SUITE...]
# A runner that has none of the suites is passed over in silence. Exit status 1 if any runner failed, or none ran. Every
# runner runs, also after a failure. With VERBOSE=1 all is shown.
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
    start=$(date +%s)
    word=ok
    "$r" "$@" >"$logs/$name" 2>&1 || word=FAILED
    if [ $# -gt 0 ] && grep -q '^Running suite(s):100%: Checks: 0, ' "$logs/$name"; then
        rm -f "$logs/$name"
        continue
    fi
    grep -q "$summary" "$logs/$name" || word="FAILED: ended without a summary"
    printf '%-14s %s, %d s\n' "$name" "$word" $(($(date +%s) - start))
    [ "$word" = ok ] || bad="$bad $name"
    # The summary is kept for the end, so that whoever adds up the lines counts each once.
    if [ "$word" != ok ] || [ "${VERBOSE:-0}" = 1 ]; then grep -v "$summary" "$logs/$name"; fi
done

[ -z "$bad" ] || echo "failed:$bad (logs in $logs)"
ran=
for r in $runners; do
    [ -e "$logs/${r##*/}" ] || continue
    ran=yes
    grep -h "$summary" "$logs/${r##*/}"
done
[ -n "$ran" ] || { echo "no runner has a suite of: $*"; exit 1; }
[ -z "$bad" ]
