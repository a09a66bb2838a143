#!/usr/bin/env bash
# A release of examples/release_app as production would run it: built, moved elsewhere, started from another directory, asked
# by rpc, crashed, upgraded, and stopped by SIGTERM while jobs run.
#
# usage: release_test.sh BUILD_DIRECTORY     (what is compiled stays there, for the next time)
set -euo pipefail

mkdir -p "${1:?usage: $0 BUILD_DIRECTORY}"
build=$(cd "$1" && pwd)
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d)
release=$work/opt/release_app
vm= epmd=

# epmd and distribution on the loopback, on a port of our own.
export ERL_EPMD_PORT=$((20000 + RANDOM % 20000)) ERL_EPMD_ADDRESS=127.0.0.1
export RELEASE_DISTRIBUTION=name RELEASE_NODE="release_app@127.0.0.1" RELEASE_COOKIE="cookie_$RANDOM$RANDOM"
export ELIXIR_ERL_OPTIONS="-kernel inet_dist_use_interface {127,0,0,1}"

clean_up() {
  [ -z "$vm" ] || kill -KILL "$vm" 2>/dev/null || true
  [ -z "$epmd" ] || kill "$epmd" 2>/dev/null || true
  rm -rf "$work"
}
trap clean_up EXIT

fail() {
  echo "FAILED: $*" >&2
  [ ! -f "$work/log" ] || tail -n 30 "$work/log" >&2
  exit 1
}
ok() { echo "ok: $*"; }

# eventually COMMAND…: until it succeeds, for at most a minute.
eventually() {
  local until=$((SECONDS + 60))
  while [ "$SECONDS" -lt "$until" ]; do
    if "$@"; then return; fi
    sleep 0.1
  done
  fail "it has not come about in a minute: $*"
}

rpc() { "$release/bin/release_app" rpc "$1"; }
# expect WANTED EXPRESSION: what the expression, on the node, is when inspected.
expect() {
  local got
  got=$(rpc "IO.inspect($2)") || fail "rpc: $2"
  [ "$got" = "$1" ] || fail "$2 is $got, not $1"
  ok "$2"
}

start() {
  (cd / && NATIVE_DRILL=1 NATIVE_DRAIN_TIMEOUT=$1 exec "$release/bin/release_app" start >>"$work/log" 2>&1) &
  vm=$!
  eventually ready
}
ready() {
  kill -0 "$vm" 2>/dev/null || fail "the release has ended"
  [ "$(rpc 'IO.write(ReleaseApp.ready?())' 2>/dev/null)" = true ]
}
# The OS processes of the pool's workers.
workers() { rpc 'IO.puts(Enum.map_join(Stevedore.info(ReleaseApp.Native).workers, " ", & &1.os_pid))'; }
# On the node, for a process of its own: returns when so many jobs run.
readonly AWAIT_RUNNING='
  running = fn -> {:ok, s} = Stevedore.stats(ReleaseApp.Native); Enum.sum_by(s.workers, & &1.native["running"]) end
  await = fn await, count -> if running.() < count, do: (Process.sleep(5); await.(await, count)) end
'
# A job for nobody in particular.
start_job() { rpc "spawn(fn -> Stevedore.call(ReleaseApp.Native, $1, timeout: :infinity) end); $AWAIT_RUNNING await.(await, $2)"; }
none_left() {
  local pid
  for pid in "$@"; do [ ! -e "/proc/$pid" ] || return 1; done
}

# SIGTERM to the VM, as systemd and Docker do. Sets `status`, with which it ended, and `ms`, after how long.
terminate() {
  local since
  since=$(date +%s%N)
  status=0
  kill -TERM "$vm"
  wait "$vm" || status=$?
  vm=
  ms=$((($(date +%s%N) - since) / 1000000))
}

# --- build: the sources and the build directory are gone when it runs ----------------------------

mkdir -p "$work/src" "$work/opt"
cp -R "$root/examples/release_app" "$work/src/"
rm -rf "$work/src/release_app/"{_build,deps,priv}
(
  cd "$work/src/release_app"
  export STEVEDORE_PATH="$root/elixir" STEVEDORE_DEPS=none MIX_ENV=prod MIX_BUILD_PATH="$build/release_app"
  mix release --quiet --overwrite --path "$work/built" >"$work/build.log" 2>&1
) || { cat "$work/build.log" >&2; fail "mix release"; }
mv "$work/built" "$release"
rm -rf "$work/src"

for file in stevedore-*/priv/stevedore stevedore-*/priv/plugins/fault.so release_app-*/priv/plugins/primes.so; do
  compgen -G "$release/lib/$file" >/dev/null || fail "the release has no lib/$file"
done
[ -x "$(echo "$release"/lib/stevedore-*/priv/stevedore)" ] || fail "the program is not executable"
[ -z "$(find "$release" -type l)" ] || fail "symbolic links lead out of the release: $(find "$release" -type l)"
ok "mix release carries the program and the plugins"

# --- it works, and a crash costs one job -----------------------------------------------------------

"$(echo "$release"/erts-*/bin/epmd)" -port "$ERL_EPMD_PORT" -address 127.0.0.1 &
epmd=$!
start 30000
expect '{:ok, 9592}' 'ReleaseApp.count_primes(100_000)'
expect ':crashed' 'Stevedore.call(ReleaseApp.Native, "fault.crash", %{signal: "SEGV"}) |> elem(1) |> Map.get(:kind)'
expect '{:ok, 9592}' 'ReleaseApp.count_primes(100_000)'
kill -0 "$vm" || fail "the crash took the node down"
expect '%{crash: 1}' 'Stevedore.stats(ReleaseApp.Native) |> elem(1) |> Map.get(:deaths)'
eventually ready

# --- a rolling restart to another program, with work in flight --------------------------------------

before=$(workers)
cp -R "$(echo "$release"/lib/stevedore-*/priv)" "$work/upgrade"
got=$(rpc "
  counts = for _ <- 1..4, do: Task.async(fn -> ReleaseApp.count_primes(5_000_000) end)
  restarted = Stevedore.restart(ReleaseApp.Native, executable: \"$work/upgrade/stevedore\")
  IO.inspect({restarted, counts |> Task.await_many(:infinity) |> Enum.uniq()})
")
[ "$got" = '{:ok, [ok: 348513]}' ] || fail "restart and the jobs meanwhile: $got"
after=$(workers)
for pid in $after; do
  [ "$(readlink "/proc/$pid/exe")" = "$work/upgrade/stevedore" ] || fail "worker $pid does not run the new program"
done
none_left $before || fail "old workers are left: $before"
ok "a rolling restart to a new program, and no job noticed"

# --- SIGTERM: what runs is finished ------------------------------------------------------------------

pids=$(workers)
rpc 'IO.inspect(ReleaseApp.count_primes(12_000_000))' >"$work/by_rpc" &
caller=$!
rpc "
  $AWAIT_RUNNING
  await.(await, 1)
  {:ok, _pid} = ReleaseApp.count_into(\"$work/in_background\", 12_000_000)
  await.(await, 2)
"
terminate
wait "$caller" || fail "the caller on another node: $(cat "$work/by_rpc")"
[ "$status" = 0 ] || fail "the VM ended with $status"
[ "$(cat "$work/in_background")" = '{:ok, 788060}' ] || fail "the task in the background: $(cat "$work/in_background")"
[ "$(cat "$work/by_rpc")" = '{:ok, 788060}' ] || fail "the caller on another node got $(cat "$work/by_rpc")"
none_left $pids || fail "native processes are left: $pids"
ok "SIGTERM with 2 jobs running: both finished, after $ms ms nothing was left"

# --- SIGTERM: what does not finish is not waited for ---------------------------------------------------

start 1000
pids=$(workers)
start_job '"fault.hang", %{mode: "busy"}' 1
start_job '"sleep", %{ms: 600_000}' 2
terminate
[ "$status" = 0 ] || fail "the VM ended with $status"
[ "$ms" -ge 1000 ] || fail "it did not wait for drain_timeout: $ms ms"
none_left $pids || fail "native processes are left: $pids"
ok "SIGTERM with jobs that do not end: drain_timeout is 1000 ms, after $ms ms nothing was left"

# --- SIGKILL ---------------------------------------------------------------------------------------------

start 30000
pids=$(workers)
start_job '"fault.hang", %{mode: "busy"}' 1
kill -KILL "$vm"
wait "$vm" 2>/dev/null || true
vm=
eventually none_left $pids
ok "SIGKILL: no native process is left"

echo "release_test: all is well"
