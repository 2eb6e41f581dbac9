#!/bin/sh
# A collection learns: the verses of an old translation, found by the words of a new one. Starts a server on
# loopback, imports, searches, retrains, shows what was gained, goes back, and forward again.
#   tools/demo_learn.sh BUILD_FOLDER
# DEMO_DATA     where the catalog lies (demo-learn-data); the collection is made anew each time
# DEMO_LISTEN   address to listen on (127.0.0.1:8081, or a free port if that one is taken)
# DEMO_ONESHOT  1: stop at the end, instead of serving until Ctrl-C
set -eu

build=$1
data=${DEMO_DATA:-demo-learn-data}
listen=${DEMO_LISTEN:-127.0.0.1:8081}
items=$data/verses.ndjson
. tools/demo_server.sh

mkdir -p "$data"
if [ ! -s "$items" ]; then
    say "0. Two translations of one book: Debian's sword-text-kjv (1769) and sword-text-web (2015)"
    tools/verses.sh "$items"
fi
total=$(wc -l <"$items")

send() { # METHOD PATH [JSON]
    if [ $# -gt 2 ]; then
        curl -fsS -X "$1" "$url$2" -H 'Content-Type: application/json' -d "$3"
    else
        curl -fsS -X "$1" "$url$2"
    fi
}

say "1. A server, with its data in $data/ and its log in $log"
start_somewhere

say "2. Importing $total verses: text = the old words, metadata.modern = the new ones"
curl -fsS -o /dev/null -X DELETE "$url/collections/verses" 2>/dev/null || true
send PUT /collections/verses '{"modality": "text"}' >/dev/null
"$kindred" import --url "$url" --collection verses "$items"
wait_linked verses

# ---- before --------------------------------------------------------------------------------------
queries=$data/queries.txt
cat >"$queries" <<'TXT'
pride goes before destruction
whoever digs a pit will fall into it
a gentle answer turns away anger
you will know them by their fruits
don't be anxious for tomorrow
a friend loves at all times
there is nothing new under the sun
you are the salt of the earth
the love of money is a root of all kinds of evil
he who lives by the sword will die by the sword
don't throw your pearls before pigs
you sent your strong wind and the sea covered them
why do you see the speck in your brother's eye
the spirit indeed is willing, but the flesh is weak
TXT
ask() { # TEXT: version and the first hits
    jq -n --arg text "$1" '{collection: "verses", text: $text, k: 3, include: ["text"]}' |
        curl -fsS "$url/search" -H 'Content-Type: application/json' -d @-
}
ask_all() { while read -r q; do ask "$q" | jq -c --arg q "$q" '{q: $q} + .'; done <"$queries"; }
show() { jq -r '"     version \(.model.version):", (.hits[] | "       0.\("00\(.score * 1000 | round)"[-3:])  \(.id): \(.text[0:88])")'; }
say "3. Searches by the base model, which has never read either translation"
ask_all >"$data/before.json"
head -n 2 "$data/before.json" | while read -r line; do
    printf '   "%s"\n' "$(echo "$line" | jq -r .q)"
    echo "$line" | show
done

# ---- learning ------------------------------------------------------------------------------------
say "4. POST /admin/retrain: nine tenths of the verses to learn from, one tenth to judge by"
began=$(date +%s)
run=$(send POST /admin/retrain '{"collection": "verses", "pairs": {"anchor": "metadata.modern", "positive": "text"}, "max_seconds": 60}' | jq .run)
echo "   run $run; GET /admin/runs/$run/events:"
curl -fsSN "$url/admin/runs/$run/events" | sed -u -n 's/^data: //p' |
    jq -r --unbuffered 'select(.metrics == null) | "     \(.status)  \(.progress * 100 | round) %  step \(.step) of \(.steps)\(if .loss then "  loss \(.loss * 1000 | round / 1000)" else "" end)"' |
    awk '{ split($0, p, "  "); if (p[1] != last || NR % 8 == 0) print; last = p[1]; fflush() }'
send GET "/admin/runs/$run" >"$data/run.json"
jq -r '
    def n: . * 10000 | round / 10000;
    "   \(.status) after '"$(($(date +%s) - began))"' s: \(.decision // .error.detail)", "",
    "   \(.metrics.pairs.heldout) held-out queries       before   after",
    (("recall_at_1", "recall_at_10", "mrr_at_10", "ndcg_at_10", "general") as $m |
        "     \($m + "                         " | .[0:24])\(.metrics.before[$m] | n)   \(.metrics.after[$m] | n)"),
    "     gain in recall@10: \(.metrics.gain.recall_at_10 | n), \(.metrics.gate.level * 100) % interval \(.metrics.gain.recall_at_10_low | n) to \(.metrics.gain.recall_at_10_high | n)",
    "     (general: Spearman on sentences that have nothing to do with the collection)"' "$data/run.json"
[ "$(jq -r .status "$data/run.json")" = succeeded ] || die "the candidate was not promoted: see $data/run.json"

say "5. Answers that changed"
ask_all >"$data/after.json"
paste "$data/before.json" "$data/after.json" | while IFS="$(printf '\t')" read -r a b; do
    if [ "$(echo "$a" | jq -r '.hits[0].id')" != "$(echo "$b" | jq -r '.hits[0].id')" ]; then
        printf '   "%s"\n' "$(echo "$a" | jq -r .q)"
        echo "$a" | show
        echo "$b" | show
    fi
done | head -n 18

# ---- back and forward ----------------------------------------------------------------------------
say "6. Going back, and forward again; a verse that is written in between is in both"
send PUT /collections/verses/items/mine '{"text": "And the server spake unto the client, saying, Thou shalt not wait"}' >/dev/null
for step in rollback promote; do
    if [ $step = rollback ]; then
        send POST /admin/collections/verses/rollback >"$data/switch.json"
    else
        send POST /admin/collections/verses/promote '{"version": 2}' >"$data/switch.json"
    fi
    jq -r '"   \(.kind): version \(.from_version) -> \(.to_version), \(.metrics[] | select(.seconds) | "\(.seconds * 1000 | round) ms, \(.replayed) changes replayed")"' "$data/switch.json"
    ask "And the server spake unto the client, saying, Thou shalt not wait" | jq -r '"     version \(.model.version) finds \(.hits[0].id)"'
done
send GET /admin/collections/verses/versions |
    jq -r '.versions[] | "     \(.model)  \(.state)\(if .metrics.after then "  recall@10 \(.metrics.after.recall_at_10 * 1000 | round / 1000) on its held-out part" else "" end)"'

say "7. Go on"
cat <<TXT
   The same figures by hand:
     $kindred eval --model $data/runs/$run/model --baseline text-small --task retrieval --data $data/runs/$run/heldout.tsv
   The loss: $data/runs/$run/work/loss.svg, log.csv; the model card: $data/runs/$run/model/README.md
     (the folder opens in Python: SentenceTransformer("$data/runs/$run/model"))
   curl $url/embed -H 'Content-Type: application/json' -d '{"input": "thou shalt not wait", "model": "verses/text-small@2"}'
   curl $url/admin/runs        curl $url/admin/collections/verses/versions
   docs/learning/README.md says how it is judged.
TXT
serve_on
