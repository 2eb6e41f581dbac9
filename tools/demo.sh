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
kindred=$build/kindred
items=$data/words.ndjson
log=$data/server.log
server=

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[ -t 1 ] || say() { printf '\n%s\n' "$*"; }
die() { echo "demo: $*" >&2; exit 1; }

stop() {
    [ -n "$server" ] || return 0
    kill "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
    server=
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

mkdir -p "$data"
if [ ! -s "$items" ]; then
    [ -r "$wordnet/data.noun" ] || die "no WordNet in $wordnet (Debian package wordnet-base)"
    awk -f tools/wordnet_ndjson.awk "$wordnet/data.noun" "$wordnet/data.verb" "$wordnet/data.adj" \
        "$wordnet/data.adv" >"$items.part"
    mv "$items.part" "$items"
fi
total=$(wc -l <"$items")

# ---- the server --------------------------------------------------------------------------------
# Starts it in the background and sets $url once it is ready; fails if it exits instead.
start() {
    : >"$log"
    "$kindred" serve --data "$data" --models models --listen "$1" --drain-seconds 0 2>"$log" &
    server=$!
    tries=0
    while [ $tries -lt 600 ]; do
        addr=$(sed -n 's/.* event=listening .*addr="\{0,1\}\([^" ]*\)"\{0,1\}.*/\1/p' "$log" | head -n 1)
        if [ -n "$addr" ]; then
            url=http://$addr
            if curl -fs -o /dev/null "$url/readyz"; then return 0; fi
        fi
        kill -0 "$server" 2>/dev/null || { wait "$server" || true; server=; return 1; }
        sleep 0.1
        tries=$((tries + 1))
    done
    return 1
}
say "1. A server, with its data in $data/ and its log in $log"
if ! start "$listen"; then
    tail -n 3 "$log" >&2
    echo "demo: $listen cannot be had, taking a free port" >&2
    start 127.0.0.1:0 || { cat "$log" >&2; die "the server does not start"; }
fi
echo "   $kindred serve --data $data --models models --listen ${url#http://}"

# ---- the import --------------------------------------------------------------------------------
curl -fsS -o /dev/null -X PUT "$url/collections/words" -H 'Content-Type: application/json' \
    -d '{"modality": "text", "filterable": {"pos": "string"}}' || die "cannot create the collection"
have=$(curl -fsS "$url/collections/words" | jq .items)
began=$(date +%s.%N)
if [ "$have" -ge "$total" ]; then
    say "2. $total glosses of WordNet are there already, and searched one by one until the graph is linked again"
    written=$began
else
    say "2. Importing $total glosses of WordNet: text = gloss, the words it explains = metadata"
    "$kindred" import --url "$url" --collection words "$items"
    written=$(date +%s.%N)
fi
while [ "$(curl -fsS "$url/collections/words" | jq .index.pending)" -gt 0 ]; do sleep 0.2; done
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

if [ "${DEMO_ONESHOT:-}" = 1 ]; then
    stop
    say "Done; the server has stopped, its data stays in $data/."
else
    say "The server runs until Ctrl-C; its data stays in $data/."
    wait "$server" || true
fi
