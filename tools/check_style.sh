#!/bin/sh
# What a formatter does not see: header preambles, undocumented public functions, functions that nobody may
# call, allocation outside base/mem.c, long files, unfinished work. Prints each violation as file:line; exit
# status 1 if any. Sources without a test file are listed, not counted.
#   tools/check_style.sh
set -eu
cd "$(dirname "$0")/.."

find base core index catalog engine server tests bench tools \( -name '*.c' -o -name '*.h' \) |
    LC_ALL=C sort | xargs awk '
BEGIN {
    banned = "strcpy|strcat|sprintf|vsprintf|strtok|gets|atoi|atol|atoll|atof|scanf|system|popen|alloca|tmpnam|rand|srand|usleep|sleep"
    prints = "printf|puts|putchar|vprintf|perror"
    # Their meaning is fixed for the whole tree, so these may stand without a comment.
    verbs = "(__[a-z0-9_]*|_new|_init|_done|_free|_clear|_close|_ref|_unref|_lock|_unlock)$"
    allocs = "malloc|calloc|realloc|reallocarray|free|strdup|strndup|asprintf|vasprintf|getline|getdelim"
}
function bad(text) {
    printf "%s:%d: %s\n", FILENAME, FNR, text
    failed = 1
}
# The line without comments, strings and character constants; keeps track of comments over several lines.
function code(line,    out, c) {
    out = ""
    while (line != "") {
        if (in_comment) {
            if ((c = index(line, "*/")) == 0) return out
            line = substr(line, c + 2)
            in_comment = 0
            continue
        }
        if (!match(line, /"([^"\\]|\\.)*"|\x27([^\x27\\]|\\.)*\x27|\/\*|\/\//)) return out line
        c = substr(line, RSTART, RLENGTH)
        out = out substr(line, 1, RSTART - 1)
        line = substr(line, RSTART + RLENGTH)
        if (c == "/*") in_comment = 1
        else if (c == "//") return out
        else out = out "\"\""
    }
    return out
}
function calls(text, names) {
    return text ~ ("(^|[^A-Za-z0-9_.>])(" names ")[ ]*[(]")
}
function end_of_file() {
    if (lines > 700) printf "%s: %d lines, more than 700: does it hold two ideas?\n", file, lines
    if (lines > 700) failed = 1
    if (is_header && !once) { printf "%s: no #pragma once\n", file; failed = 1 }
}
FNR == 1 {
    if (NR > 1) end_of_file()
    file = FILENAME
    layer = file
    sub(/\/.*/, "", layer)
    name = file
    sub(/.*\//, "", name)
    is_header = name ~ /[.]h$/
    is_library = layer != "tests" && layer != "bench" && layer != "tools"
    may_print = !is_library || file ~ /^server\/(main|cmd_[a-z_]*)[.]c$/
    once = in_comment = depth = documented = in_proto = in_macro = 0
    if (name ~ /^(utils?|common|misc|helpers?)[.]/) bad("a name that says nothing")
    if (is_header && $0 !~ /^\/\* Layer: (base|core|index|catalog|engine|server|tests|bench)[.] May include: .*[.]/)
        bad("first line of a header: /* Layer: NAME. May include: LIST.")
}
{
    lines = FNR
    was_comment = in_comment
    text = code($0)
    ends_comment = (was_comment || $0 ~ /\/\*/) && !in_comment && text ~ /^[ \t]*$/
    if ($0 ~ /(^|[^A-Za-z_])(TODO|FIXME|XXX|HACK)([^A-Za-z_]|$)/ && $0 !~ /XXXXXX/) bad("unfinished work")
    if ($0 ~ /^#pragma once/) once = 1
    if (is_library && calls(text, banned)) bad("banned function: " $0)
    if (is_library && !may_print && (calls(text, prints) || text ~ /(fprintf|fputs|putc)[(].*(stderr|stdout)/))
        bad("prints: " $0)
    if (is_library && file != "base/mem.c" && calls(text, allocs)) bad("allocates outside base/mem.h: " $0)
}
# Public prototypes: at the margin of a header, outside braces. One comment may serve a run of them that has
# no blank line in it.
is_header && is_library && name !~ /_internal[.]h$/ {
    continued = in_macro
    in_macro = $0 ~ /\\$/
    if (continued || $0 ~ /^[ \t]*#/) { documented = 0; next }
    if (ends_comment && depth == 0) { documented = 1; next }
    if ($0 ~ /^[ \t]*$/) { if (!in_proto) documented = 0; next }
    if (was_comment || in_comment) next
    if (depth == 0 && !in_proto && text ~ /^[A-Za-z_].*[(]/ && text !~ /^(typedef|struct|enum|union|static|extern)[^(]*[={]/ && \
        text !~ /^typedef/ && text !~ /^static inline/) {
        called = text
        sub(/[ ]*[(].*/, "", called)
        if (!documented && $0 !~ /\/[*].*[*]\/[ \t]*$/ && called !~ verbs)
            bad("public function without a comment: " $0)
        in_proto = 1
    }
    if (in_proto && text ~ /;[ \t]*$/) in_proto = 0
    depth += gsub(/{/, "{", text) - gsub(/}/, "}", text)
}
END {
    end_of_file()
    if (failed) exit 1
    print "style: ok"
}'

# layer/x.c is tested by tests/layer/test_x.c (core/part/x.c also by tests/core/test_x.c), or by a file that says
# so: a test whose comment names the source.
missing=
for f in $(find base core index catalog engine server -name '*.c' | LC_ALL=C sort); do
    layer=${f%%/*}
    rest=${f#*/}
    case $f in server/main.c) continue ;; esac
    [ -f "tests/$layer/$(dirname "$rest")/test_$(basename "$f")" ] && continue
    [ -f "tests/$layer/test_$(basename "$f")" ] && continue
    grep -qrF "$f" tests --include='*.c' 2>/dev/null && continue
    missing="$missing $f"
done
[ -z "$missing" ] || printf 'without a test file:%s\n' "$(printf ' %s' $missing)"
