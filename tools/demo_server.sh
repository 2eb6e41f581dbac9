# For the demos: a server of their own. Sourced; wants $build, $data, $listen. Sets $url, $log, $kindred.
# DEMO_ONESHOT=1: stop at the end, instead of serving until Ctrl-C.

kindred=$build/kindred
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

# Starts it in the background and sets $url once it is ready; fails if it exits instead.
start() {
    : >"$log"
    "$kindred" serve --data "$data" --models "${MODELS:-models}" --listen "$1" --drain-seconds 0 2>"$log" &
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
start_somewhere() {
    if ! start "$listen"; then
        tail -n 3 "$log" >&2
        echo "demo: $listen cannot be had, taking a free port" >&2
        start 127.0.0.1:0 || { cat "$log" >&2; die "the server does not start"; }
    fi
    echo "   $kindred serve --data $data --models "${MODELS:-models}" --listen ${url#http://}"
}
# The graph of a collection is whole.
wait_linked() {
    while [ "$(curl -fsS "$url/collections/$1" | jq .index.pending)" -gt 0 ]; do sleep 0.2; done
}
serve_on() {
    if [ "${DEMO_ONESHOT:-}" = 1 ]; then
        stop
        say "Done; the server has stopped, its data stays in $data/."
    else
        say "The server runs until Ctrl-C; its data stays in $data/."
        wait "$server" || true
    fi
}
