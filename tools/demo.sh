#!/bin/sh
# A reverse dictionary: starts a server on loopback, imports the glosses of WordNet, searches them.
#   tools/demo.sh BUILD_FOLDER
# DEMO_DATA     where the catalog lies (demo-data); what is there is reused
# DEMO_LISTEN   address to listen on (127.0.0.1:8080, or a free port if that one is taken)
# DEMO_ONESHOT  1: stop at the end, instead of serving until Ctrl-C
set -eu

build=$1
data=${DEMO_DATA:-demo-data}
listen=${DEMO_LISTEN:-127.0.0.1:8080}
wordnet=${DEMO_WORDNET:-/usr/share/wordnet}
items=$data/words.ndjson
. tools/demo_server.sh

mkdir -p "$data"
if [ ! -s "$items" ]; then
    [ -r "$wordnet/data.noun" ] || die "no WordNet in $wordnet (Debian package wordnet-base)"
    awk -f tools/wordnet_ndjson.awk "$wordnet/data.noun" "$wordnet/data.verb" "$wordnet/data.adj" \
        "$wordnet/data.adv" >"$items.part"
    mv "$items.part" "$items"
fi
total=$(wc -l <"$items")

# ---- the server --------------------------------------------------------------------------------
say "1. A server, with its data in $data/ and its log in $log"
start_somewhere

# ---- the import --------------------------------------------------------------------------------
curl -fsS -o /dev/null -X PUT "$url/collections/words" -H 'Content-Type: application/json' \
    -d '{"modality": "text", "filterable": {"pos": "string"}}' || die "cannot create the collection"
have=$(curl -fsS "$url/collections/words" | jq .items)
began=$(date +%s.%N)
if [ "$have" -ge "$total" ]; then
    say "2. $total glosses of WordNet are there already"
    written=$began
else
    say "2. Importing $total glosses of WordNet: text = gloss, the words it explains = metadata"
    "$kindred" import --url "$url" --collection words "$items"
    written=$(date +%s.%N)
fi
wait_linked words
echo "$began $written $(date +%s.%N) $total" | awk '{
    if ($2 > $1) printf "   embedded, on disk and found: %.1f s (%.0f items/s); ", $2 - $1, $4 / ($2 - $1)
    else printf "   "
    printf "graph linked: %.1f s\n", $3 - $1 }'

# ---- searches ----------------------------------------------------------------------------------
ask() {
    printf '\n   "%s"%s\n' "$1" "${2:+   only $2}"
    jq -n --arg text "$1" --arg pos "${2:-}" \
        '{collection: "words", text: $text, k: 4} + (if $pos == "" then {} else {filter: {must: [{key: "pos", match: {value: $pos}}]}} end)' |
        curl -fsS "$url/search" -H 'Content-Type: application/json' -d @- |
        jq -r '(.hits[] | "     0.\("00\(.score * 1000 | round)"[-3:])  \(.metadata.lemmas | join(", ")): \(.text | split(";")[0] | .[0:90])"), "     (\(.took_ms) ms)"'
}
say "3. What is the word for ...?"
ask "a small domesticated feline"
ask "instrument for measuring earthquakes"
ask "someone who cannot sleep at night"
ask "a vehicle that flies without an engine"
ask "to walk slowly without a goal" verb

say "4. How fast"
# The second half of every 200th gloss: real phrases, none of them an item.
sed -n 's/.*"text": "\([^"\\]*\)".*/\1/p' "$items" |
    awk 'NR % 200 == 0 && NF > 3 { out = ""; for (i = int(NF / 2) + 1; i <= NF; i++) out = out $i " "; print out }' >"$data/queries.txt"
printf '   '
"$build/bench_search" --url "$url" --collection words --n 400 "$data/queries.txt"

say "5. Go on"
cat <<TXT
   curl $url/search -H 'Content-Type: application/json' -d '{"collection": "words", "text": "a musical instrument with keys", "k": 5}'
   curl $url/embed -H 'Content-Type: application/json' -d '{"input": "a musical instrument with keys"}'
   curl -X PUT $url/collections/words/items/mine -H 'Content-Type: application/json' -d '{"text": "the feeling of having built something that works"}'
   curl $url/collections/words        curl $url/metrics        curl $url/openapi.yaml
   README.md says more; docs/architecture.md shows how it works; make check runs the tests.
TXT

serve_on
