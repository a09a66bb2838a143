#!/usr/bin/env bash
# run.sh SECONDS [TARGET…]: fuzzes each target (frames etf msgpack) for so long; fails on any finding and says where
# its input is.
#
# FUZZ_BUILD: where the targets were built with -DFUZZ=ON (default: build-fuzz). Starts from all vectors and the committed
# corpus (what fuzzing found beyond them); what libFuzzer adds is kept in FUZZ_BUILD/corpus, its findings in
# FUZZ_BUILD/findings.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly SECONDS_EACH=${1:?usage: run.sh SECONDS [TARGET…]}
shift
readonly ROOT=../..
BUILD=$(cd "$ROOT" && cd "${FUZZ_BUILD:-build-fuzz}" && pwd)
readonly BUILD

fuzz() {
  local target=$1 seeds="$BUILD/seeds/$1" kept="$BUILD/corpus/$1" log="$BUILD/fuzz_$1.log"
  mkdir -p "$kept" "$BUILD/findings"
  if ! "$BUILD/tests/fuzz/fuzz_$target" -max_total_time="$SECONDS_EACH" -dict=stevedore.dict \
    -max_len=8192 -timeout=10 -rss_limit_mb=2048 -artifact_prefix="$BUILD/findings/$target-" -print_final_stats=1 \
    "$kept" "corpus/$target" "$seeds" >"$log" 2>&1; then
    tail -n 40 "$log" >&2
    echo "fuzz_$target: a finding, see $BUILD/findings" >&2
    return 1
  fi
  echo "fuzz_$target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs, nothing found"
}

"${PYTHON:-python3}" seed.py "$BUILD/seeds"
[ $# -gt 0 ] || set -- frames etf msgpack
failed=0
for target in "$@"; do
  fuzz "$target" || failed=1
done
exit "$failed"
