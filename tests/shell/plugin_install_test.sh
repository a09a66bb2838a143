#!/usr/bin/env bash
# A plugin's author has nothing but an installed Stevedore: install to a prefix of its own, move that elsewhere, build examples/ against it
# with CMake and with pkg-config alone, and call the ops.
#
# usage: plugin_install_test.sh BUILD_DIRECTORY
set -euo pipefail

build=$(cd "${1:?usage: $0 BUILD_DIRECTORY}" && pwd)
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

# expect WORDS COMMAND…: its output contains the words (blanks apart, for JSON may be laid out in any way).
expect() {
  local wanted=${1// /} output
  shift
  output=$("$@" 2>&1) || fail "$* ended with code $?: $output"
  [[ "${output//[[:space:]]/}" == *"$wanted"* ]] || fail "$* said: $output"
  echo "ok: $(basename "$1") ${*:2}"
}

# Installed in one place and used in another: nothing in it may know where it was.
cmake --install "$build" --prefix "$work/first" >"$work/install.log" || fail "$(cat "$work/install.log")"
mv "$work/first" "$work/prefix"
stevedore=$work/prefix/bin/stevedore
pkgconfig=$(dirname "$(find "$work/prefix" -name stevedore.pc)")

# 1. CMake: find_package, stevedore_add_plugin, and the tests that examples/CMakeLists.txt has.
cmake -S "$root/examples" -B "$work/cmake" -DCMAKE_PREFIX_PATH="$work/prefix" >"$work/cmake.log" 2>&1 ||
  fail "$(cat "$work/cmake.log")"
cmake --build "$work/cmake" >"$work/cmake.log" 2>&1 || fail "$(cat "$work/cmake.log")"
(cd "$work/cmake" && ctest --output-on-failure) || fail "the tests of examples"
expect 'Hello Ada!' "$stevedore" call hello.greet '{"people": ["Ada"]}' --plugin "$work/cmake/hello.so"

# 2. pkg-config and a compiler, nothing else.
export PKG_CONFIG_PATH=$pkgconfig
read -ra flags < <(pkg-config --cflags stevedore)
"${CC:-cc}" -std=c11 -O2 -shared -fPIC "${flags[@]}" -o "$work/word_count.so" "$root/examples/word_count.c"
"${CXX:-c++}" -std=c++17 -O2 -shared -fPIC "${flags[@]}" -o "$work/hello.so" "$root/examples/hello.cc"
[ "$(pkg-config --variable=executable stevedore)" -ef "$stevedore" ] || fail "the executable of stevedore.pc"
expect '"words": 3' "$stevedore" call text.count '{"text": "one two\nthree"}' --plugin "$work/word_count.so"
expect 'Hello Ada, Joe!' "$stevedore" call hello.greet '{"people": ["Ada", "Joe"]}' --plugin "$work/hello.so"

# 3. The plugin that comes along.
expect 'null' "$stevedore" call fault.spin '{"ms": 1}' --plugin "$(pkg-config --variable=plugindir stevedore)/fault.so"

# 4. Nothing but the one symbol is exported by a plugin that stevedore_add_plugin built.
exported=$(nm -D --defined-only "$work/cmake/word_count.so" | awk '$2 ~ /[A-Z]/ && $3 !~ /^_/ { print $3 }')
[ "$exported" = stevedore_plugin ] || fail "word_count.so exports: $exported"

echo "plugin_install_test: all is well"
