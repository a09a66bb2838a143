#!/usr/bin/env bash
# The command line of `stevedore`: no BEAM, nothing but a shell. Prints a line for each failure, then `N passed, N failed`.
#
#   cli_test.sh [STEVEDORE [FAULT_PLUGIN]]     (default: those in build/port of this checkout)
# shellcheck disable=SC2016,SC2059,SC2154 # JSON with a dollar, bytes by printf, what coproc sets
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
stevedore=$(realpath "${1:-build/port/stevedore}") || exit 1
fault=$(realpath "${2:-$(dirname "$stevedore")/fault.so}") || exit 1

# In a build with AddressSanitizer a crash shall still be a death by its signal.
export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}handle_segv=0"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0

# run NAME COMMAND…: runs it; its stdin is that of run. Leaves $code, $work/out, $work/err.
run() {
  name=$1
  shift
  "$@" >"$work/out" 2>"$work/err"
  code=$?
}

pass() { passed=$((passed + 1)); }

fail() {
  failed=$((failed + 1))
  printf 'FAILED %s: %s\n' "$name" "$1"
  sed 's/^/    out: /' "$work/out" | head -n 5
  sed 's/^/    err: /' "$work/err" | head -n 5
}

check_code() { if [ "$code" -eq "$1" ]; then pass; else fail "exit code $code instead of $1"; fi; }
check_out() { if [ "$(cat "$work/out")" = "$1" ]; then pass; else fail "expected on stdout: $1"; fi; }
check_out_has() { if grep -qF -- "$1" "$work/out"; then pass; else fail "stdout lacks: $1"; fi; }
check_err_has() { if grep -qF -- "$1" "$work/err"; then pass; else fail "stderr lacks: $1"; fi; }
check_no_err() { if [ ! -s "$work/err" ]; then pass; else fail "stderr is not empty"; fi; }
check_one_line_of_err() { if [ "$(wc -l <"$work/err")" -eq 1 ]; then pass; else fail "stderr is not one line"; fi; }
check_out_matches() {
  if grep -qxE -- "$1" "$work/out"; then pass; else fail "no line on stdout matches: $1"; fi
}

# Bytes as text, for comparing.
hex() { od -An -v -tx1 | tr -d ' \n'; }
bytes() { printf "$(printf '%s' "$1" | sed 's/../\\x&/g')"; }
encode_to_hex() { "$stevedore" encode "$@" | hex; }
there_and_back() { "$stevedore" encode "$@" | "$stevedore" decode; }

# wrong NAME MESSAGE ARGUMENTS…: exit code 64 and one line on stderr that says so.
wrong() {
  local message=$2
  run "$1" "$stevedore" "${@:3}" </dev/null
  check_code 64
  check_err_has "$message"
  check_one_line_of_err
}

# encodes HEX JSON [OPTIONS]: the frame that a line becomes.
encodes() {
  run "encode $2 ${*:3}" encode_to_hex "${@:3}" <<<"$2"
  check_out "$1"
  check_no_err
}

# decodes JSON HEX: the line that a frame becomes.
decodes() {
  run "decode $2" "$stevedore" decode < <(bytes "$2")
  check_code 0
  check_out "$1"
}

# broken NAME MESSAGE HEX: exit code 65 and one line on stderr (PROTOCOL §8, grade 3).
broken() {
  run "decode: $1" "$stevedore" decode < <(bytes "$3")
  check_code 65
  check_err_has "$2"
  check_one_line_of_err
}

test_help_and_version() {
  local command
  run '--help' "$stevedore" --help
  check_code 0
  check_out_has 'usage: stevedore'
  for command in call decode encode help ops; do
    run "help $command" "$stevedore" help "$command"
    check_code 0
    check_out_has "usage: stevedore $command"
    check_no_err
  done
  for command in call decode encode ops; do
    "$stevedore" help "$command" >"$work/expected"
    run "$command --help" "$stevedore" "$command" --help
    check_code 0
    check_out "$(cat "$work/expected")"
  done
  run '--version' "$stevedore" --version
  check_code 0
  check_out_matches 'stevedore [0-9]+\.[0-9]+\.[0-9]+'
}

test_wrong_command_lines() {
  wrong 'a number that is none' 'stevedore: --threads takes a number from 1 to 1024, not "x" (see stevedore --help)' \
    --threads x
  wrong 'no threads' '--threads takes' --threads 0
  wrong 'too many threads' '--threads takes' --threads 1025
  wrong 'a negative number' '--threads takes' --threads=-1
  wrong 'a number beyond 64 bits' '--max-queue takes' --max-queue 99999999999999999999
  wrong 'stuck at once' '--kill-after takes a number from 1 to 2147483647' --kill-after 0
  wrong 'an empty number' '--max-queue takes' --max-queue ''
  wrong 'a size with a strange suffix' '--max-frame takes' --max-frame 1T
  wrong 'a size that overflows' '--max-frame takes' --max-frame 18446744073709551615G
  wrong 'a frame too large' '--max-frame takes' --max-frame 2G
  wrong 'a missing value' '--plugin takes a value' --plugin
  wrong 'an unknown option' 'unknown option "--nonsense"' --nonsense
  wrong 'an unknown letter' 'unknown option "-x"' -x
  wrong 'an unknown command' 'unknown command "nonsense"' nonsense
  wrong 'a command behind options' 'unexpected "ops"' --threads 1 ops
  wrong 'help on nothing known' 'there is no command "nonsense"' help nonsense
  wrong 'a wrong codec' 'stevedore encode: --codec takes etf or msgpack, not "json"' encode --codec json
  wrong 'an operand of encode' 'takes no "x"' encode x
  wrong 'an operand of decode' 'takes no "x"' decode x
  wrong 'an operand of ops' 'takes no "x"' ops x
  wrong 'call without an op' 'takes the name of an op' call
  wrong 'call with words too many' '"c" is too much' call a b c
  wrong 'call with broken JSON' 'the arguments, column 6: not JSON' call echo '{"a":'
  wrong 'data without an object' 'the arguments must be an object' call echo '[1]' --data x
  wrong 'a timeout of nothing' '--timeout takes a number from 1' call echo --timeout 0
}

test_stdin_that_cannot_be_read() {
  for command in encode decode; do
    run "$command a directory" "$stevedore" "$command" <"$work"
    check_code 74
    check_err_has "stevedore $command: cannot read stdin: Is a directory"
  done
}

# Just typing the name shows how it is used; needs a terminal to try it with.
test_terminal() {
  command -v script >/dev/null || return 0
  run 'stdin is a terminal' script -qec "$(printf '%q' "$stevedore")" /dev/null
  check_code 64
  check_out_has 'usage: stevedore'
}

# PROTOCOL §9.1; a message is a tuple, its tag an atom.
test_encode_etf() {
  encodes 00000011836803770463616c6c61016d0000000168 '["call",1,"h"]'
  encodes 0000001883680477016177036e696c770474727565770566616c7365 '["a",null,true,false]'
  encodes 0000000f8368037701617703666f6f68016101 '["a",{"$atom":"foo"},{"$tuple":[1]}]'
  encodes 0000000f8368037701616c0000000161016a6a '["a",[1],[]]'
  encodes 0000001b83680377016174000000016d000000016b62ffffffff7400000000 '["a",{"k":-1},{}]'
  encodes 0000000f836802770161463ff8000000000000 '["a",1.5]'
  encodes 000000118368027701616e0800ffffffffffffffff '["a",18446744073709551615]'
  encodes 000000128368027701616e0901000000000000000001 '["a",{"$big":"-0x10000000000000000"}]'
  encodes 0000000c8368027701616d00000001ff '["a",{"$base64":"/w=="}]'
  encodes 0000000e8368027701614d0000000201ff80 '["a",{"$bits":[9,"/4A="]}]'
  encodes 0000000f8368027701616c0000000161016102 '["a",{"$improper":[1,2]}]'
  encodes 0000000f836802770161740000000161016102 '["a",{"$map":[[1,2]]}]'
  encodes 0000000b83680261016d0000000161 '[1,"a"]'
}

# PROTOCOL §9.2.
test_encode_msgpack() {
  encodes 0000000993a463616c6c01a168 '["call",1,"h"]' --codec msgpack
  encodes 0000001d9ba161c0c3c2ffcb3ff8000000000000910181a16b02c401ff9101a178 \
    '["a",null,true,false,-1,1.5,[1],{"k":2},{"$base64":"/w=="},{"$tuple":[1]},{"$atom":"x"}]' --codec msgpack
  encodes 0000000c92a161cfffffffffffffffff '["a",18446744073709551615]' --codec msgpack
}

# PROTOCOL §3.
test_batches() {
  encodes 0000001d836c000000026d000000068368017701616d000000068368017701626a '[["a"],["b"]]'
  local codec
  for codec in etf msgpack; do
    run "a batch in $codec" there_and_back --codec "$codec" <<<'[["a",1],["b"],["c",[]]]'
    check_code 0
    check_out $'["a",1]\n["b"]\n["c",[]]'
    run "an empty batch in $codec" there_and_back --codec "$codec" <<<'[]'
    check_code 0
    check_out ''
    check_no_err
  done
  decodes $'["a"]\n["b"]' 0000001a836c000000026d000000068368017701616d0000000391a1626a
}

test_decode() {
  decodes '["ok",1,"hi",[0,3,3]]' 0000001b83680477026f6b62000000016d0000000268696803610061036103
  decodes '["a","foo",null,true]' 000000168368047701617703666f6f77036e696c770474727565
  decodes '["a",[104,105]]' 0000000b8368027701616b00026869
  decodes '["a",{"$base64":"//4="}]' 0000000d8368027701616d00000002fffe
  decodes '["a",{"k":1}]' 00000010836802770161740000000177016b6101
  decodes '["a",{"$map":[[1,2]]}]' 0000000f836802770161740000000161016102
  decodes '["a",{"$big":"-0x8000000000000001"}]' 000000118368027701616e08010100000000000080
  decodes '["a",18446744073709551615]' 000000118368027701616e0800ffffffffffffffff
  decodes '["a",{"$bits":[9,"/4A="]}]' 0000000e8368027701614d0000000201ff80
  decodes '["a",{"$improper":[1,2]}]' 0000000f8368027701616c0000000161016102
  decodes '["a",{"$base64":"/w=="},1.5]' 0000000f93a161c401ffcb3ff8000000000000
}

test_round_trips() {
  local codec json='["a",[1,-1,1.5,null,true],{"k":{"n":["é","\u0000"]}},{"$base64":"/w=="},{"$map":[[1,2]]}]'
  for codec in etf msgpack; do
    run "a round trip in $codec" there_and_back --codec "$codec" <<<"$json"
    check_code 0
    check_out "$json"
  done
  { head -c 3000000 /dev/urandom | base64 -w0; echo; } | sed 's/.*/["a",{"$base64":"&"}]/' >"$work/large"
  run 'a line of 4 MB' there_and_back <"$work/large"
  if cmp -s "$work/large" "$work/out"; then pass; else fail 'it came back as something else'; fi
  seq 1 20000 | sed 's/.*/["call",&,"echo",{"n":&}]/' >"$work/many"
  run '20000 lines' there_and_back <"$work/many"
  if cmp -s "$work/many" "$work/out"; then pass; else fail 'they came back as something else'; fi
}

# PROTOCOL §8.
test_broken_streams() {
  broken 'an end inside a length' 'ended inside a frame' 000000
  broken 'an end inside a frame' 'ended inside a frame' 000000098368
  broken 'an empty frame' 'an empty frame' 00000000
  broken 'an over-long frame' 'longer than --max-frame' 04000001
  broken 'an unknown first byte' 'first byte' 0000000168
  broken 'a binary that lies' 'broken stream' 0000000c8368027701616d0000010078
  broken 'a batch that lies' 'broken stream' 0000000d836c000000016d00000100786a
  broken 'an empty message in a batch' 'broken stream' 0000000c836c000000016d000000006a
  run 'what came before is printed' "$stevedore" decode < <(bytes 0000000683680177016100000000)
  check_out '["a"]'
  check_code 65
}

# refused NAME HEX: reported, the next frame is still decoded, exit code 1 (PROTOCOL §8, grade 2).
refused() {
  run "decode: $1" "$stevedore" decode < <(bytes "${2}00000006836801770162")
  check_code 1
  check_err_has 'stevedore decode: frame 1: refused: '
  check_one_line_of_err
  check_out '["b"]'
}

test_refused_messages() {
  refused 'a pid' 000000168368027701615877016e000000000000000000000000
  refused 'a key twice' 0000001383680277016174000000026101610161016101
  refused 'trailing bytes' 0000000783680177016100
}

# A line is answered before the next one is there: nothing waits in a buffer.
test_interactive() {
  local answer
  name='interactive' code=0
  : >"$work/out"
  : >"$work/err"
  coproc pipeline { "$stevedore" encode | "$stevedore" decode; }
  printf '["a"]\n' >&"${pipeline[1]}"
  if read -r -t 20 answer <&"${pipeline[0]}" && [ "$answer" = '["a"]' ]; then pass; else fail "got: ${answer:-}"; fi
  eval "exec ${pipeline[1]}>&-"
  wait "$pipeline_PID"
}

test_streams_of_encode() {
  run 'two lines, a blank one and none at the end' there_and_back < <(printf '["a"]\n\n  \n["b"]')
  check_out $'["a"]\n["b"]'
  run 'an empty input' there_and_back </dev/null
  check_code 0
  check_out ''
  run 'a wrong second line' "$stevedore" encode < <(printf '["a"]\n["b",]\n["c"]\n')
  check_code 1
  check_err_has 'stevedore encode: line 2, column 5: not JSON'
  check_one_line_of_err
  run 'lines before a wrong one are written' there_and_back < <(printf '["a"]\n["b",]\n["c"]\n')
  check_out '["a"]'
  run 'a line that is no message' "$stevedore" encode <<<'{"a":1}'
  check_code 1
  check_err_has 'line 1: a message is an array'
  run 'a batch with something else' "$stevedore" encode <<<'[["a"],1]'
  check_code 1
  check_err_has 'a batch holds messages'
  run 'a number beyond 64 bits' "$stevedore" encode <<<'["a",18446744073709551616]'
  check_code 1
  check_err_has 'line 1, column 6: 18446744073709551616 is beyond 64 bits'
  run 'bits in MessagePack' "$stevedore" encode --codec msgpack <<<'["a",{"$bits":[1,"gA=="]}]'
  check_code 1
  check_err_has 'line 1: the codec cannot say this'
  run 'a frame beyond the limit' "$stevedore" encode --max-frame 4K < <(printf '["%05000d"]\n' 0)
  check_code 1
  check_err_has 'larger than --max-frame'
  run 'nesting without end' "$stevedore" encode < <(printf '["a",'; head -c 500000 /dev/zero | tr '\0' '['; echo)
  check_code 1
}

serve_json() { "$stevedore" encode "$@" | "$stevedore" --threads 2 | "$stevedore" decode; }
receipt='\[[0-9]+,[0-9]+,[0-9]+\]'

# The worker itself, PROTOCOL §4, §5, §11.
test_pipeline() {
  local codec
  for codec in etf msgpack; do
    run "a call in $codec" serve_json --codec "$codec" <<<'["call",1,"echo","hi"]'
    check_code 0
    check_out_matches "\\[\"ok\",1,\"hi\",$receipt\\]"
    check_out_matches '\["bye","eof"\]'
    check_no_err
    run "a batch in $codec" serve_json --codec "$codec" <<<'[["call",1,"echo",[1]],["call",2,"nonsense",null],["call",3,"ping",0]]'
    check_out_matches "\\[\"ok\",1,\\[1\\],$receipt\\]"
    check_out_matches "\\[\"error\",2,\"unknown_op\",\\{.*\\},$receipt\\]"
    check_out_matches "\\[\"ok\",3,\"pong\",$receipt\\]"
  done
  run 'stop' serve_json <<<'["stop"]'
  check_out '["bye","stop"]'
  run 'a message that is none' serve_json <<<'["nonsense"]'
  check_out_matches '\["error",null,"bad_request",\{.*\},'"$receipt"'\]'
}

test_call() {
  run 'call echo' "$stevedore" call echo '{"a":[1,null]}'
  check_code 0
  check_out '{"a":[1,null]}'
  check_no_err
  run 'call without arguments' "$stevedore" call echo
  check_out '{}'
  run 'call with negative JSON' "$stevedore" call echo -- -1
  check_out '-1'
  run 'bytes as JSON' "$stevedore" call echo '{"$base64":"/w=="}'
  check_out '{"$base64":"/w=="}'
  run 'bytes as they are' "$stevedore" call --raw echo '{"$base64":"/w=="}'
  if [ "$(hex <"$work/out")" = ff ]; then pass; else fail 'expected the byte ff'; fi
  run '--raw of no bytes' "$stevedore" call --raw echo '[1]'
  check_out '[1]'
  run 'stdout that does not take it' bash -c '"$0" call echo 1 >/dev/full' "$stevedore"
  check_code 74
  check_err_has 'cannot write to stdout'
}

test_call_with_data() {
  local sha
  head -c 1000000 /dev/urandom >"$work/file"
  sha=$(sha256sum <"$work/file" | cut -d' ' -f1)
  run 'data from a file' "$stevedore" call digest '{"algorithm":"sha256"}' --data "@$work/file"
  check_code 0
  check_out "\"$sha\""
  run 'data from stdin' "$stevedore" call digest '{"algorithm":"sha256"}' --data @- --raw <"$work/file"
  check_out "$sha"
  run 'data as text' "$stevedore" call echo --data text
  check_out '{"data":"text"}'
  run 'data that is not there' "$stevedore" call echo --data "@$work/nothing"
  check_code 74
  check_err_has "cannot read $work/nothing: No such file"
  head -c 10000 /dev/zero >"$work/file"
  run 'data beyond the limit' "$stevedore" call echo --max-frame 4K --data "@$work/file"
  check_code 1
  check_err_has '"kind": "too_large"'
}

test_errors_of_calls() {
  run 'an unknown op' "$stevedore" call nonsense
  check_code 1
  check_out ''
  check_err_has '"kind": "unknown_op"'
  run 'wrong arguments' "$stevedore" call sleep '{"ms":"x"}'
  check_code 1
  check_err_has '"kind": "bad_args"'
  check_err_has '"arg": "ms"'
  run 'a timeout' "$stevedore" call sleep '{"ms":600000}' --timeout 20
  check_code 1
  check_err_has '"kind": "timed_out"'
  run 'an op that does not stop' "$stevedore" call fault.hang --timeout 20 --plugin "$fault"
  check_code 1
  check_err_has '[warning] the op was asked to stop and goes on'
  check_err_has '  hang_deadlocked+0x'
  check_err_has '"kind": "timed_out"'
  mkfifo "$work/fifo"
  head -c 1000000 /dev/zero >"$work/large"
  run 'a worker that does not start, and a call that no pipe holds' timeout 60 "$stevedore" call digest \
    '{"algorithm":"sha256"}' --data "@$work/large" --timeout 20 --plugin "$work/fifo"
  check_code 1
  check_err_has '"kind": "timed_out"'
  run 'a plugin that is not there' "$stevedore" call echo --plugin "$work/nothing.so"
  check_code 69
  check_err_has "$work/nothing.so"
}

test_ops_that_kill_their_worker() {
  local signal
  for signal in SEGV ABRT KILL; do
    run "SIG$signal" "$stevedore" call fault.crash "{\"signal\":\"$signal\"}" --plugin "$fault"
    check_code 1
    check_out ''
    check_err_has '"kind": "crashed"'
    check_err_has "the op killed its worker: SIG$signal"
  done
  run 'an op that exits' "$stevedore" call fault.exit '{"code":7}' --plugin "$fault"
  check_code 1
  check_err_has 'the op ended its worker with exit code 7'
  run 'an op that calls exit()' "$stevedore" call fault.exit '{"quick":false}' --plugin "$fault"
  check_code 1
  check_err_has '"kind": "crashed"'
  check_err_has 'called exit()'
}

test_what_is_told_meanwhile() {
  run 'a print of the op' "$stevedore" call fault.print '{"text":"printed by a library\n"}' --plugin "$fault"
  check_code 0
  check_out 1
  check_err_has '[info] printed by a library'
  run 'progress' "$stevedore" call sleep '{"ms":150}' --progress
  check_code 0
  check_out null
  check_err_has 'progress 150/150'
}

test_ops() {
  run 'ops' "$stevedore" ops
  check_code 0
  check_no_err
  check_out_matches 'OP +FLAGS +DOC'
  check_out_matches 'digest +idempotent +.*'
  if awk 'length($0) > 100 { bad = 1 } END { exit bad }' "$work/out"; then pass; else fail 'a line is too long'; fi
  run 'ops --json' "$stevedore" ops --json
  check_code 0
  check_out_has '"name":"digest"'
  if [ "$(wc -l <"$work/out")" -eq 1 ]; then pass; else fail 'not one line'; fi
  run 'ops of a plugin' "$stevedore" ops --plugin "$fault"
  check_out_has 'fault.crash'
}

for test in $(declare -F | awk '$3 ~ /^test_/ { print $3 }'); do
  "$test"
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
