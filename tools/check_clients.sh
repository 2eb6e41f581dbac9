#!/bin/sh
# The stock OpenAI clients of Python and Node against the server that was built.
#   tools/check_clients.sh build/release
# The clients are installed below build/clients once, by pip and npm. A client whose language is not
# installed is passed over and named; status 2 if that leaves none.
set -eu

bin=$1/kindred
here=$(cd "$(dirname "$0")" && pwd)
clients=build/clients
mkdir -p "$clients"
tmp=$(mktemp -d)
pid=
trap 'if [ -n "$pid" ]; then kill "$pid" 2>/dev/null && wait "$pid" || true; fi; rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM

"$bin" serve --data "$tmp/data" --listen 127.0.0.1:0 --models "${KINDRED_MODELS:-models}" \
    --drain-seconds 0 2>"$tmp/log" &
pid=$!
port=
for _ in $(seq 300); do
    port=$(sed -n 's/.*event=listening.* addr="\{0,1\}[^ ]*:\([0-9]*\)"\{0,1\}.*/\1/p' "$tmp/log")
    [ -n "$port" ] && break
    kill -0 "$pid" 2>/dev/null || { cat "$tmp/log"; exit 1; }
    sleep 0.1
done
[ -n "$port" ] || { echo 'the server does not listen' >&2; exit 1; }
base=http://127.0.0.1:$port

# Both clients would honour these.
unset OPENAI_API_KEY OPENAI_BASE_URL OPENAI_ORG_ID OPENAI_PROJECT_ID 2>/dev/null || true
export NO_PROXY=127.0.0.1 no_proxy=127.0.0.1

done=0
if command -v python3 >/dev/null && python3 -c 'import venv, ensurepip' 2>/dev/null; then
    [ -x "$clients/python/bin/pip" ] || python3 -m venv "$clients/python"
    "$clients/python/bin/python" -c 'import openai' 2>/dev/null ||
        "$clients/python/bin/pip" install --quiet openai
    "$clients/python/bin/python" "$here/clients/openai_python.py" "$base"
    done=1
else
    echo 'openai (Python): passed over, python3 with venv is not installed'
fi
if command -v node >/dev/null && command -v npm >/dev/null; then
    mkdir -p "$clients/node"
    [ -f "$clients/node/package.json" ] || echo '{"private": true}' >"$clients/node/package.json"
    [ -d "$clients/node/node_modules/openai" ] ||
        npm install --silent --no-audit --no-fund --prefix "$clients/node" openai
    # Modules are looked for beside the script.
    cp "$here/clients/openai_node.mjs" "$clients/node/"
    node "$clients/node/openai_node.mjs" "$base"
    done=1
else
    echo 'openai (Node): passed over, node or npm is not installed'
fi
[ "$done" = 1 ] || exit 2
