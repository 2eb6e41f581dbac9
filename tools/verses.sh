#!/bin/sh
# Two translations of one book as items, one a line: text = the old words, metadata.modern = the new ones. From
# Debian's diatheke, sword-text-kjv and sword-text-web.
#   tools/verses.sh FILE
set -eu
all="Genesis 1:1-Revelation of John 22:21"
diatheke -b engKJV2006eb -f plain -k "$all" >"$1.old" &
reading=$!
diatheke -b engWEB2015eb -f plain -k "$all" >"$1.new"
wait $reading
awk -f "$(dirname "$0")/verses_ndjson.awk" "$1.old" "$1.new" >"$1.part"
rm "$1.old" "$1.new"
mv "$1.part" "$1"
