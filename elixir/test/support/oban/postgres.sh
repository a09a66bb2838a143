#!/bin/sh
# A PostgreSQL cluster of one's own, in a temporary directory, on a unix socket in it: no port, no network.
# It lives as long as stdin is open, so it ends with whoever started this, even if that is killed. Says
# `ready DIRECTORY` when it can be connected to, as user postgres, without a password.
set -eu

bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
[ -n "$bin" ] || bin=$(dirname "$(command -v postgres)")
dir=$(mktemp -d "${TMPDIR:-/tmp}/stevedore-postgres-XXXXXX")

# PostgreSQL refuses to run as root.
run() { "$@"; }
if [ "$(id -u)" = 0 ]; then
  chown postgres "$dir"
  run() { setpriv --reuid=postgres --regid="$(id -g postgres)" --clear-groups -- "$@"; }
fi

finish() {
  run "$bin/pg_ctl" -D "$dir/data" -m immediate stop >/dev/null 2>&1 || true
  rm -rf "$dir"
}
trap finish EXIT
trap 'exit 1' HUP INT TERM

cd "$dir"
run "$bin/initdb" -D "$dir/data" -U postgres --auth=trust --no-sync -E UTF8 --locale=C >"$dir/log" 2>&1 ||
  { cat "$dir/log" >&2; exit 1; }
# Nothing here has to survive a power failure. It takes its signals from pg_ctl only.
run "$bin/pg_ctl" -D "$dir/data" -l "$dir/data/log" -w -o "-k '$dir' -c listen_addresses='' -c fsync=off \
  -c synchronous_commit=off -c full_page_writes=off -c max_connections=200" start >/dev/null </dev/null ||
  { cat "$dir/data/log" >&2; exit 1; }
echo "ready $dir" 2>/dev/null || exit 0
cat >/dev/null
