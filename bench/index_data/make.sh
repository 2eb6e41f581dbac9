#!/bin/sh
# Make the real sets of bench-index: minilm, tfidf and sift, each as FOLDER/NAME.base.npy and FOLDER/NAME.query.npy.
# A set that is there is left alone. README.md beside this file says what they are made from.
#   bench/index_data/make.sh FOLDER BUILD_FOLDER PYTHON [NAME...]
# PYTHON needs numpy, scikit-learn and opencv-python-headless; where it lacks them an environment is made in FOLDER.
# Debian packages are downloaded and unpacked in FOLDER/work, none is installed; it can be removed afterwards.
set -eu
[ $# -ge 3 ] || { sed -n '2,7s/^# //p' "$0"; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd) build=$(cd "$2" && pwd) python=$3
shift 3
[ $# -gt 0 ] || set -- minilm tfidf sift
work=$out/work

die() {
    echo "bench-index-data: $*" >&2
    exit 1
}
say() { echo "bench-index-data: $*"; }
is_there() { [ -s "$out/$1.base.npy" ] && [ -s "$out/$1.query.npy" ]; }

# ---- sources -----------------------------------------------------------------------------------
# APT with lists and archives of its own, so that neither root nor a change of the system is needed.
apt_here() {
    mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial"
    command -v apt-get >/dev/null 2>&1 || die "this needs Debian's apt-get"
    "$@" -qq -o Acquire::Languages=en -o Dir::State::lists="$work/apt/lists" -o Dir::Cache="$work/apt/cache" \
        -o APT::Sandbox::User="$(id -un)" $apt_request
}
apt_lists() {
    [ -e "$work/apt/done" ] && return
    apt_request=update apt_here apt-get
    : >"$work/apt/done"
}
# unpack PACKAGE: into $work/root
unpack() {
    [ -e "$work/root/.$1" ] && return
    apt_lists
    say "downloading $1"
    (cd "$work" && apt_request="download $1" && apt_here apt-get)
    mkdir -p "$work/root"
    dpkg-deb -x "$work/$1"_*.deb "$work/root"
    rm -f "$work/$1"_*.deb
    : >"$work/root/.$1"
}
python_ready() {
    "$python" -c 'import numpy, sklearn, cv2' 2>/dev/null && return
    python=$out/python/bin/python
    "$python" -c 'import numpy, sklearn, cv2' 2>/dev/null && return
    say "making a Python environment in $out/python"
    "$here/../peers/install.sh" "$out/python" index
    "$python" -c 'import numpy, sklearn, cv2' || die "no Python with numpy, scikit-learn and OpenCV"
}
wordnet=$work/root/usr/share/wordnet
pictures=$work/root/usr/share/openclipart/png

# ---- sets --------------------------------------------------------------------------------------
# Made under $work, then moved: a set that is there is whole.
finish() {
    mv "$work/$1.query.npy" "$work/$1.base.npy" "$out/"
    rm -f "$out/$1.truth"
}
make_minilm() {
    unpack wordnet-base
    python3 "$here/texts.py" minilm "$wordnet" "$work"
    [ -d "$work/kindred/models/all-MiniLM-L6-v2" ] ||
        "$build/kindred" model pull all-MiniLM-L6-v2 --data "$work/kindred"
    say "encoding; this takes some minutes"
    for part in query base; do
        "$build/bench_index_embed" "$work/minilm.$part.txt" "$work/kindred/models/all-MiniLM-L6-v2" \
            "$work/minilm.$part.npy"
    done
}
make_tfidf() {
    unpack wordnet-base
    apt_lists
    python_ready
    for list in "$work"/apt/lists/*Translation-en*; do
        /usr/lib/apt/apt-helper cat-file "$list"
    done | python3 "$here/texts.py" tfidf "$wordnet" "$work"
    "$python" "$here/tfidf.py" "$work/tfidf.base.txt" "$work/tfidf.query.txt" "$work"
}
make_sift() {
    unpack openclipart-png
    python_ready
    "$python" "$here/sift.py" "$pictures" "$work"
}

for set in "$@"; do
    case $set in minilm | tfidf | sift) ;; *) die "there is no set $set" ;; esac
    is_there "$set" && continue
    mkdir -p "$work"
    say "making $set"
    "make_$set"
    finish "$set"
done
