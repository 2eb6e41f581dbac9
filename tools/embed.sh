#!/bin/sh
# Files as C: prints a table `const struct embedded_file TABLE[]` (base/embed.h), one row a file in the
# order given, ended by a row whose name is NULL.
#   tools/embed.sh TABLE FILE... >out.c
set -eu

table=$1
shift

echo '#include "base/embed.h"'
echo
i=0
for f in "$@"; do
    # A NUL follows the data, so that text can be used as a C string.
    printf 'static const unsigned char file_%d[] = {\n' "$i"
    od -An -v -tu1 "$f" | sed 's/  */,/g; s/^,//; s/$/,/'
    printf '0 };\n'
    i=$((i + 1))
done
printf 'const struct embedded_file %s[] = {\n' "$table"
i=0
for f in "$@"; do
    printf '    { "%s", file_%d, sizeof file_%d - 1 },\n' "${f##*/}" "$i" "$i"
    i=$((i + 1))
done
printf '    { 0, 0, 0 },\n};\n'
