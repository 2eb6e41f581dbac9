#!/bin/sh
# Debian packages that Kindred needs. Installs those of the named lists that are missing; prints and asks
# nothing when all are there.
#   tools/deps.sh LIST...      LIST: build, test, demo, demo-learn, fuzz, bench
#   tools/deps.sh --print LIST...
# Where there is no apt-get it only says what is missing, and the build goes on.
set -eu

build="gcc libc6-dev libmicrohttpd-dev libjansson-dev libsqlite3-dev libutf8proc-dev libroaring-dev
    libsodium-dev libcurl4-openssl-dev libopenblas-dev libxxhash-dev"
test="check libsubunit-dev libyaml-dev"
demo="wordnet-base curl jq"
fuzz="clang libclang-rt-14-dev"
bench="g++ libhnswlib-dev python3-venv"
demo_learn="diatheke sword-text-kjv sword-text-web curl jq"

print=
want=
for list in "$@"; do
    case $list in
    --print) print=1 ;;
    build) want="$want $build" ;;
    test) want="$want $test" ;;
    demo) want="$want $demo" ;;
    demo-learn) want="$want $demo_learn" ;;
    fuzz) want="$want $fuzz" ;;
    bench) want="$want $bench" ;;
    *) echo "tools/deps.sh: unknown list $list" >&2; exit 2 ;;
    esac
done
if [ -n "$print" ]; then
    # shellcheck disable=SC2086
    printf '%s\n' $want
    exit 0
fi
if ! command -v dpkg-query >/dev/null 2>&1 || ! command -v apt-get >/dev/null 2>&1; then
    echo "Not a Debian system: please see that these (or their like) are installed:" $want >&2
    exit 0
fi

missing=
for p in $want; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null || true)
    [ "$state" = installed ] || missing="$missing $p"
done
[ -n "$missing" ] || exit 0

as_root=
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        echo "Missing Debian packages; as root: apt-get install$missing" >&2
        exit 1
    fi
    as_root="sudo -n"
    sudo -n true 2>/dev/null || as_root=sudo
fi
echo "Installing Debian packages:$missing"
install() {
    # shellcheck disable=SC2086
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        -o Dpkg::Use-Pty=0 $missing >/dev/null
}
# A fresh system has no package lists; an old one may have stale ones.
if ! install 2>/dev/null; then
    $as_root apt-get update -qq
    install
fi
