#!/bin/sh
# What one retrain brings, through HTTP, on files of pairs: imports the right side as texts and the left side as
# metadata.anchor, retrains once, prints a row of a table, then does it again with the left sides shuffled, which
# must be rejected.
#   tools/learn_domains.sh BUILD_FOLDER FILE.tsv...
# A line: anchor TAB positive.
#   DOMAINS_DATA   where the catalogs lie (a temporary folder)
#   MODEL, MODELS  the base model (text-small), and the folder it is in (models)
#   METHOD, LAYERS, SECONDS_MAX   what learns, as in POST /admin/retrain, and for how long at most
#   SHUFFLED=0     leave the shuffled pairs out
set -eu

MODEL=${MODEL:-text-small}
export MODELS="${MODELS:-models}"
request=$(jq -cn --arg method "${METHOD:-auto}" --arg layers "${LAYERS:-}" --arg seconds "${SECONDS_MAX:-}" '
    {collection: "domain", pairs: {anchor: "metadata.anchor", positive: "text"}, seed: 1, method: $method}
    + (if $layers == "" then {} else {layers: ($layers | tonumber)} end)
    + (if $seconds == "" then {} else {max_seconds: ($seconds | tonumber)} end)')

build=$1
shift
work=${DOMAINS_DATA:-$(mktemp -d)}
listen=127.0.0.1:0
export DEMO_ONESHOT=1

row() { # NAME FILE SHUFFLED
    data=$work/$1$3
    mkdir -p "$data"
    . tools/demo_server.sh
    if [ -n "$3" ]; then
        cut -f1 "$2" | shuf --random-source="$2" | paste - "$2" | cut -f1,3
    else
        cat "$2"
    fi | jq -cRn '[inputs | split("\t") | select(length >= 2)] | to_entries[] |
        {id: "\(.key)", text: .value[1], metadata: {anchor: .value[0]}}' >"$data/items.ndjson"
    start_somewhere >/dev/null
    curl -fsS -o /dev/null -X PUT "$url/collections/domain" -H 'Content-Type: application/json' -d "{\"modality\": \"text\", \"model\": \"$MODEL\"}"
    "$kindred" import --url "$url" --collection domain "$data/items.ndjson" >"$data/import.txt"
    began=$(date +%s)
    run=$(curl -fsS -X POST "$url/admin/retrain" -H 'Content-Type: application/json' \
        -d "$request" | jq .run)
    while :; do
        curl -fsS "$url/admin/runs/$run" >"$data/run.json"
        jq -e '.status | IN("succeeded", "rejected", "failed", "cancelled")' "$data/run.json" >/dev/null && break
        sleep 0.5
    done
    jq -r --arg name "$1$3" --arg s "$(($(date +%s) - began))" 'def n: if . == null then "-" else "\(. * 1000 | round / 1000)" end;
        .metrics as $m | "| \($name) | \($m.pairs.train) | \($m.pairs.heldout) of \(($m.pairs.heldout // 0) + ($m.pairs.distractors // 0)) | \($m.before.recall_at_10 | n) | \($m.after.recall_at_10 | n) | \($m.gain.recall_at_10 | n) (\($m.gain.recall_at_10_low | n) to \($m.gain.recall_at_10_high | n)) | \($m.before.mrr_at_10 | n) → \($m.after.mrr_at_10 | n) | \($m.before.general | n) → \($m.after.general | n) | \(.status) | \($s) s |"' "$data/run.json"
    if [ "$(jq -r .status "$data/run.json")" = succeeded ]; then
        by_hand=$("$kindred" eval --models "$MODELS" --model "$data/runs/$run/model" --baseline "$MODEL" --task retrieval \
            --data "$data/runs/$run/heldout.tsv")
        echo "$by_hand" | jq -e --slurpfile r "$data/run.json" 'def same($a; $b): ($a - $b) | fabs < 0.0001;
            same(.before.recall_at_10; $r[0].metrics.before.recall_at_10) and same(.after.recall_at_10; $r[0].metrics.after.recall_at_10)
            and same(.after.mrr_at_10; $r[0].metrics.after.mrr_at_10) and same(.after.ndcg_at_10; $r[0].metrics.after.ndcg_at_10)' >/dev/null ||
            die "kindred eval by hand differs: $by_hand"
    fi
    stop
}

echo '| domain | pairs | held out | recall@10 before | after | gain (interval) | MRR@10 | general | run | whole time |'
echo '| --- | ---: | ---: | ---: | ---: | --- | --- | --- | --- | ---: |'
for file in "$@"; do
    name=$(basename "$file" .tsv)
    row "$name" "$file" ""
    [ "${SHUFFLED:-1}" = 0 ] || row "$name" "$file" " shuffled"
done
[ -n "${DOMAINS_DATA:-}" ] || rm -rf "$work"
