#!/bin/bash
# Makes models/text-small from public sources: tools/text_small/make.sh
#
#   --cache DIR     what is fetched and computed on the way (default: build/text-small)
#   --sources DIR   pair and sentence files extracted before, plain or .xz, instead of fetching
#   --sets DIR      evaluation files; with them the finished folder is measured
#   --model DIR     the folder to write (default: models/text-small)
#
# Needs what building Kindred needs, and Debian 12 with python3 (3.11) and python3-venv, the package
# clients apt-get and pip, and https. No root. One thread. Python prepares (prepare.py), kindred train
# trains. What was fetched and what the teacher said is kept in the cache, so that a second run is short. The
# last bits of the weights depend on the processor; the figures in the model card do not.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=$root/build/text-small sources= sets= model=$root/models/text-small
while [ $# -gt 0 ]; do
    case $1 in
        --cache) cache=$2 ;;
        --sources) sources=$2 ;;
        --sets) sets=$2 ;;
        --model) model=$2 ;;
        *) sed -n '2,8p' "$0" >&2; exit 2 ;;
    esac
    shift 2
done

mkdir -p "$cache"
# Large arrays come and go in every step of the teacher: keep their memory instead of returning it each time.
export MALLOC_MMAP_THRESHOLD_=1000000000 MALLOC_TRIM_THRESHOLD_=4000000000
export OMP_NUM_THREADS=1 RAYON_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=1

if ! cmp -s "$here/requirements.txt" "$cache/venv/requirements.txt"; then
    python3 -m venv "$cache/venv"
    "$cache/venv/bin/pip" install -q --disable-pip-version-check -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$cache/venv/requirements.txt"
fi
python=$cache/venv/bin/python

make -s -C "$root"
kindred=$root/build/release/kindred

echo "sources"
"$python" "$here/sources.py" teacher "$cache"
if [ -z "$sources" ]; then
    "$python" "$here/sources.py" texts "$cache"
    sources=$cache/text
fi
echo "preparing"
"$python" "$here/prepare.py" "$sources" "$cache/teacher" "$cache"

# NAME or NAME:WEIGHT. A file is drawn in proportion to weight * min(rows, 60,000) ^ 0.75.
pairs=(wordnet_word_gloss:2 wordnet_lemmas_gloss:2 wordnet_hypernym_gloss wordnet_synonyms
    wordnet_gloss_example debian_name_short debian_short_long:2 captions_coco_val2017
    tatoeba_pivot_paraphrases ppdb_xl_words)
taught=(captions:3 tatoeba glosses:0.5 examples packages:0.7)
files=()
for f in "${pairs[@]}"; do
    [[ $f == *:* ]] || f=$f:1
    files+=(--pairs "$cache/pairs/${f%:*}.tsv:${f#*:}")
done
for f in "${taught[@]}"; do
    [[ $f == *:* ]] || f=$f:1
    files+=(--taught "$cache/taught/${f%:*}.txt:$cache/taught/${f%:*}.npy:${f#*:}")
done

echo "training"
rm -rf "$cache/trained"
"$kindred" train --model "$cache/start" --out "$cache/trained" --work "$cache/work" \
    "${files[@]}" --steps 12000 --batch 1024 --rate 0.003 --warmup 0.05 --temperature 0.05 \
    --token-dropout 0.1 --distill-share 0.6 --anchor-weight 0 --max-tokens 96 --seed 1 --threads 1
mkdir -p "$model"
# A card that is there is kept: what it says of figures is to be checked by hand.
if [ -f "$model/README.md" ]; then rm "$cache/trained/README.md"; fi
cp -R "$cache/trained/." "$model/"
chmod -R u=rwX,go=rX "$model"

# TASK NAME [EVERY]: a file of the sets, plain or .xz
judge() {
    echo "$2"
    { cat "$sets/$2.tsv" 2>/dev/null || xz -dc "$sets/$2.tsv.xz"; } |
        "$kindred" eval --model "$model" --task "$1" --data - --every "${3:-1}"
}
if [ -n "$sets" ]; then
    judge sts eval_stsb_dev
    judge retrieval eval_wordnet_gloss2word
    judge retrieval eval_debian_short2long
    judge retrieval captions_multi30k_val 5
fi
echo "model folder: $(find "$model" -type f -printf '%s\n' | awk '{n += $1} END {print n}') bytes"
