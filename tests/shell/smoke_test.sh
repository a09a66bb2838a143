#!/usr/bin/env bash
# The executable with nothing but a shell: frames made by printf, replies looked at as hex; then `stevedore encode |
# stevedore | stevedore decode`. Usage: smoke_test.sh [EXECUTABLE]. Ends with "N passed, N failed".
set -uo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
readonly STEVEDORE=${1:-${STEVEDORE:-$ROOT/build/port/stevedore}}
SCRATCH=$(mktemp -d)
readonly SCRATCH
trap 'rm -rf "$SCRATCH"' EXIT
passed=0 failed=0

# --- tools -----------------------------------------------------------------------------------

# bytes HEX…: those bytes.
bytes() {
  local hex="$*"
  hex=${hex// /}
  printf '%b' "$(printf '%s' "$hex" | sed 's/../\\x&/g')"
}

# frame HEX…: a frame with that content (PROTOCOL §1).
frame() {
  local hex="$*"
  hex=${hex// /}
  bytes "$(printf '%08x' $((${#hex} / 2)))" "$hex"
}

text() { printf '%s' "$1" | hex; }
hex() { od -An -v -tx1 | tr -d ' \n'; }
atom() { printf '77%02x%s' "${#1}" "$(text "$1")"; }
binary() { printf '6d%08x%s' "${#1}" "$(text "$1")"; }

# check NAME CODE PATTERN COMMAND…: the command exits with CODE and prints what the shell pattern matches. What it writes
# to stderr is shown if that is not so.
check() {
  local name=$1 code=$2 pattern=$3 output status
  shift 3
  output=$("$@" 2>"$SCRATCH/stderr")
  status=$?
  # shellcheck disable=SC2053 # a pattern is what it is meant to be
  if [ "$status" = "$code" ] && [[ $output == $pattern ]]; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    printf 'FAILED: %s\n  exit code %s, expected %s\n  printed:  %s\n  expected: %s\n' \
      "$name" "$status" "$code" "$output" "$pattern"
    sed 's/^/  stderr: /' "$SCRATCH/stderr"
  fi
}

# The worker's stdout as hex, for frames on stdin.
serve() { "$STEVEDORE" | hex; }

# The worker's replies as lines of JSON, for lines of JSON on stdin.
talk() { "$STEVEDORE" encode "${codec[@]}" | "$STEVEDORE" | "$STEVEDORE" decode; }

# --- frames by hand --------------------------------------------------------------------------

BYE_EOF=$(printf '0000000d8368027703%s7703%s' "$(text bye)" "$(text eof)")
BYE_STOP=$(printf '0000000e8368027703%s7704%s' "$(text bye)" "$(text stop)")
readonly BYE_EOF BYE_STOP

ping_7() { frame 83 6804 "$(atom call)" 6107 "$(binary ping)" "$(atom nil)" | serve; }
# §5: an id is always tag 98, so that replies can be routed without decoding.
check "ping over ETF" 0 "000000??83680477026f6b6200000007$(binary pong)6803*$BYE_EOF" ping_7

ping_msgpack() { frame 94 a4 "$(text call)" 07 a4 "$(text ping)" c0 | serve; }
check "ping over MessagePack" 0 "000000??94a2$(text ok)07a4$(text pong)93*" ping_msgpack

echo_term() { frame 83 6804 "$(atom call)" 6101 "$(binary echo)" 6c000000026101"$(atom true)"6a | serve; }
check "a term comes back as it was" 0 "*83680477026f6b62000000016c000000026101$(atom true)6a*" echo_term

stop() { frame 83 6801 "$(atom stop)" | serve; }
check "stop" 0 "$BYE_STOP" stop

nothing() { serve </dev/null; }
check "no input at all" 0 "$BYE_EOF" nothing

batch() {
  local message
  message="836804$(atom call)6101$(binary ping)6a"
  frame 83 6c00000001 6d "$(printf '%08x' $((${#message} / 2)))" "$message" 6a | serve
}
check "a batch of one" 0 "*77026f6b6200000001$(binary pong)*$BYE_EOF" batch

bad_request() { frame 83 6802 "$(atom launch)" 6107 | serve; }
check "an unknown message is answered with its id" 0 \
  "*7705$(text error)6200000007770b$(text bad_request)*$BYE_EOF" bad_request

broken_length() { bytes ffffffff | serve; }
check "an over-long frame breaks the stream" 65 "" broken_length

broken_term() { frame 8368 | serve; }
check "a term that ends too soon breaks the stream" 65 "" broken_term

broken_codec() { printf 'Hello, world, this is not a frame\n' | serve; }
check "text breaks the stream" 65 "" broken_codec

one_line() { bytes 00000000 | "$STEVEDORE" 2>&1 >/dev/null | wc -l | tr -d ' '; }
check "one line on stderr says so" 65 1 one_line

from_file() {
  {
    frame 83 6804 "$(atom call)" 6101 "$(binary ping)" 6a
    frame 83 6804 "$(atom call)" 6102 "$(binary ping)" 6a
  } >"$SCRATCH/frames"
  "$STEVEDORE" <"$SCRATCH/frames" >"$SCRATCH/replies" && hex <"$SCRATCH/replies"
}
check "stdin and stdout are files" 0 "*6200000001*6200000002*$BYE_EOF" from_file

# --- JSON in, JSON out -----------------------------------------------------------------------

for name in etf msgpack; do
  codec=(--codec "$name")

  hello() { echo '["call", 1, "hello", null]' | talk; }
  check "$name: hello" 0 '*"ok",1,{*"protocol":1*' hello

  echo_json() { echo '["call", 1, "echo", {"a": [1, -2, 2.5, null, true, "é"]}]' | talk; }
  check "$name: echo" 0 '*"ok",1,{"a":\[1,-2,2.5,null,true,"é"\]}*"bye","eof"*' echo_json

  digest() { echo '["call", 1, "digest", {"algorithm": "sha256", "data": "abc"}]' | talk; }
  check "$name: digest" 0 '*ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad*' digest

  digest_file() { echo "[\"call\", 1, \"digest\", {\"algorithm\": \"sha256\", \"path\": \"$STEVEDORE\"}]" | talk; }
  check "$name: digest of a file" 0 "*$(sha256sum "$STEVEDORE" | cut -d' ' -f1)*" digest_file

  unknown() { echo '["call", 1, "no.such.op", null]' | talk; }
  check "$name: unknown op" 0 '*"error",1,"unknown_op"*' unknown

  stopped() { printf '%s\n' '["call", 1, "sleep", {"ms": 3600000}]' '["stop", 10]' | talk; }
  check "$name: stop with a grace" 0 '*"error",1,"cancelled"*"bye","stop"*' stopped

  cancelled() { printf '%s\n' '["call", 1, "sleep", {"ms": 3600000}]' '["cancel", 1]' | talk; }
  check "$name: cancel" 0 '*"error",1,"cancelled"*"bye","eof"*' cancelled

  timed_out() { echo '["call", 1, "sleep", {"ms": 3600000}, {"timeout": 20}]' | talk; }
  check "$name: timeout" 0 '*"error",1,"timed_out"*"limit_ms":20*' timed_out

  thousand() { seq 1000 | sed 's/.*/["call", &, "echo", &]/' | talk | grep -c '"ok"'; }
  check "$name: a thousand calls" 0 1000 thousand
done

wrong_json() { echo '["call", 1' | "$STEVEDORE" encode; }
check "encode: a line that is not JSON" 1 "" wrong_json

wrong_option() { "$STEVEDORE" --no-such-option </dev/null; }
check "a wrong option" 64 "" wrong_option

version() { "$STEVEDORE" --version; }
check "version" 0 '*[0-9].[0-9]*' version

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
