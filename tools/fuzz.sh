#!/bin/sh
# Runs fuzz targets one after the other, each from its committed inputs and from what it found before.
#   tools/fuzz.sh BUILD_FOLDER SECONDS TARGET...
# New inputs go to BUILD_FOLDER/corpus/TARGET, an input that breaks a target to BUILD_FOLDER/broken/. Exit
# status 1 if any target broke.
set -u

build=$1
seconds=$2
shift 2

mkdir -p "$build/broken"
bad=
for name; do
    found=$build/corpus/$name
    dict=tests/fuzz/$name.dict
    log=$build/fuzz_$name.log
    mkdir -p "$found"
    [ -f "$dict" ] && dict=-dict=$dict || dict=-use_value_profile=0
    echo "fuzz $name: $seconds s, log in $log"
    ASAN_OPTIONS=allocator_may_return_null=1:detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1 \
        "$build/fuzz_$name" -max_total_time="$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=2048 \
        -print_final_stats=1 -artifact_prefix="$build/broken/$name-" "$dict" \
        "$found" "tests/fuzz/corpus/$name" >"$log" 2>&1 || bad="$bad $name"
    grep -E 'ERROR|SUMMARY|does not hold|^#[0-9]+.*(DONE|INITED)|number_of_executed_units|peak_rss' "$log"
done
[ -z "$bad" ] || { echo "broken:$bad (inputs in $build/broken)" >&2; exit 1; }
