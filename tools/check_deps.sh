#!/bin/sh
# Which folder includes what: layers point down only, each third-party library has its place, and a header
# includes no more than its first line says. Prints each violation as file:line; exit status 1 if any.
#   tools/check_deps.sh
set -eu
cd "$(dirname "$0")/.."

find base core index catalog engine server tests bench tools \( -name '*.c' -o -name '*.h' \) |
    LC_ALL=C sort | xargs awk '
BEGIN {
    # folder: the folders that it may include
    may["base"] = "base"
    may["core"] = "base core"
    may["index"] = "base index"
    may["catalog"] = "base catalog"
    may["engine"] = "base core index catalog engine"
    may["server"] = "base engine server"
    may["grad"] = "base core" # tests/grad
    may["tools"] = "base core index catalog engine"
    may["bench"] = "base core index catalog engine bench"
    # header: pattern of the files that may include it (tests/ and bench/ of a layer may, too)
    place["microhttpd.h"] = "^server/(http_|request|response|exchange)"
    place["jansson.h"] = "^(server/|core/model/|core/text/|engine/model_(store|pull))"
    place["sqlite3.h"] = "^catalog/sqlite_"
    place["utf8proc.h"] = "^core/text/"
    place["roaring/"] = "^(engine|index)/"
    place["sodium"] = "^(catalog|engine|server)/"
    place["curl/"] = "^(server/cmd_|engine/model_fetch)"
    place["cblas.h"] = "^core/nn/gemm[.]c$"
    place["yaml.h"] = "^tests/support/"
    place["check.h"] = "^tests/"
    place["pthread.h"] = "^base/thread[.]h$"
    place["sanitizer/"] = "^base/arena[.]c$"
    place["immintrin.h"] = "^(base/vec|core/nn/)"
    place["xxhash.h"] = "^base/checksum[.]c$"
    place["arm_neon.h"] = "^(base/vec|core/nn/)"
    place["cpuid.h"] = "^base/vecmath[.]c$"
    split("arpa/ assert.h ctype.h dirent.h dlfcn.h endian.h errno.h fcntl.h fenv.h float.h fnmatch.h ftw.h " \
        "getopt.h inttypes.h limits.h linux/ locale.h malloc.h math.h net/ netdb.h netinet/ poll.h pwd.h " \
        "sched.h setjmp.h signal.h spawn.h stdarg.h stdatomic.h stdbool.h stddef.h stdint.h stdio.h stdlib.h " \
        "stdnoreturn.h string.h strings.h sys/ syslog.h termios.h time.h tgmath.h unistd.h wchar.h", t, " ")
    for (i in t) libc[t[i]] = 1
}
function bad(text) {
    printf "%s:%d: %s\n", FILENAME, FNR, text
    failed = 1
}
function has(list, word) {
    return index(" " list " ", " " word " ") > 0
}
# The entry of `table` that is the name itself or the folder it is in.
function key_of(table, name,    k, base) {
    if (name in table) return name
    base = name
    sub(/\/.*/, "/", base)
    if (base in table) return base
    base = name
    sub(/[.\/].*/, "", base)
    return (base in table) ? base : ""
}
FNR == 1 {
    first = $0
    layer = FILENAME
    sub(/\/.*/, "", layer)
    # Tests of a layer see what the layer sees; those against the binary see everything.
    of = layer
    if (layer == "tests") {
        split(FILENAME, part, "/")
        of = part[2]
    }
    allowed = (of in may) ? may[of] : "base core index catalog engine server"
    is_header = FILENAME ~ /[.]h$/
    seen_own = is_header || layer == "tests" || layer == "bench" || layer == "tools"
    own = FILENAME
    sub(/[.]c$/, ".h", own)
}
/^[ \t]*#[ \t]*include[ \t]*"/ {
    name = $0
    sub(/^[^"]*"/, "", name)
    sub(/".*/, "", name)
    if (name ~ /[.]c$/) bad("includes a source: " name)
    if (name == "version.h") {
        if (layer != "server" && layer != "bench") bad("version.h is for server and bench")
        next
    }
    to = name
    sub(/\/.*/, "", to)
    if (name !~ /\//) bad("not a path from the root: " name)
    else if (to == "tests") { if (layer != "tests") bad(layer " includes tests") }
    else if (!has(allowed, to)) bad(layer (of != layer ? "/" of : "") " may not include " to ": " name)
    else if (name ~ /_internal[.]h$/ && to != layer && to != of && of != "fuzz") bad("internal to " to ": " name)
    if (is_header && layer != "tests" && to != layer && index(first, to) == 0)
        bad("the first line does not say that it may include " to)
    # x_internal.h stands for x.h, which it includes.
    if (!seen_own && name != own && name !~ /_internal[.]h$/ && is_there(own))
        bad("does not include its own header first: " own)
    seen_own = 1
}
/^[ \t]*#[ \t]*include[ \t]*</ {
    name = $0
    sub(/^[^<]*</, "", name)
    sub(/>.*/, "", name)
    k = key_of(place, name)
    if (k != "") {
        inside = FILENAME
        if (layer == "tests" || layer == "bench") next
        if (inside !~ place[k]) bad(name " has no place here")
    } else if (key_of(libc, name) == "") bad("unknown header, add it to tools/check_deps.sh: " name)
    if (!seen_own && is_there(own)) bad("does not include its own header first: " own)
}
function is_there(path,    line, ok) {
    if (path in exists) return exists[path]
    ok = (getline line <path) >= 0
    close(path)
    return exists[path] = ok
}
END {
    if (failed) exit 1
    print "dependencies: ok"
}'
