#!/usr/bin/env bash
# The Hex package as who depends on it gets it: made by mix hex.build, unpacked elsewhere, compiled as a dependency of a fresh
# application, from the C sources that it brings along; a job runs, and a plugin of the application's own.
#
# usage: package_test.sh BUILD_DIRECTORY     (what is compiled stays there, for the next time)
set -euo pipefail

mkdir -p "${1:?usage: $0 BUILD_DIRECTORY}"
build=$(cd "$1" && pwd)
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
  echo "FAILED: $*" >&2
  exit 1
}
ok() { echo "ok: $*"; }
has() { [ -e "$package/$1" ] || fail "the package has no $1"; }

# Debian has it in a package of its own (erlang-hex); elsewhere: mix local.hex.
if ! mix help hex.build >/dev/null 2>&1; then
  echo "package_test: SKIPPED, for mix has no Hex here: install erlang-hex, or mix local.hex"
  exit
fi

# --- the tarball: with ordinary dependencies, as it would be published; no network is needed for that ----

(cd "$root/elixir" && env -u STEVEDORE_DEPS HEX_OFFLINE=1 mix hex.build --output "$work/package.tar") >"$work/log" 2>&1 ||
  fail "mix hex.build: $(cat "$work/log")"
for rest in c_src docs LICENSE CHANGELOG.md; do
  [ ! -e "$root/elixir/$rest" ] || fail "mix hex.build has left elixir/$rest behind"
done

# Always the same place, so that CMake has to compile only what has changed.
package=$build/stevedore
rm -rf "$package"
mkdir -p "$package"
tar -xOf "$work/package.tar" contents.tar.gz | tar -xz -C "$package"
tar -xOf "$work/package.tar" metadata.config >"$work/metadata"
for word in Apache-2.0 telemetry GitHub; do
  grep -q "$word" "$work/metadata" || fail "the metadata do not name $word"
done
for file in lib/stevedore.ex mix.exs README.md LICENSE CHANGELOG.md docs/guides/writing_an_op.md docs/PROTOCOL.md \
  c_src/CMakeLists.txt c_src/port/include/stevedore.h c_src/proto/error_kinds.def usage-rules.md \
  priv/grafana/stevedore.json.eex; do
  has "$file"
done
[ -z "$(find "$package" -type l -o -name '*.so' -o -name '*.o' -o -path '*/priv/stevedore' -o -path '*/priv/plugins')" ] || fail "the package has what does not belong into it"
ok "mix hex.build: $(du -k "$work/package.tar" | cut -f1) KB, $(find "$package" -type f | wc -l) files"

# --- an application that depends on it ---------------------------------------------------------------------

app=$work/app
mkdir -p "$app"/{lib,c_src}
cat >"$app/mix.exs" <<ELIXIR
defmodule App.MixProject do
  use Mix.Project

  def project do
    [
      app: :app,
      version: "1.0.0",
      compilers: Mix.compilers() ++ [:stevedore_plugins],
      deps: [{:stevedore, path: "$package"}]
    ]
  end
end
ELIXIR
cp "$root/examples/word_count.c" "$app/c_src/"
export STEVEDORE_DEPS=none MIX_ENV=prod MIX_BUILD_PATH="$build/app" STEVEDORE_CMAKE_FLAGS=-DSTATIC_LIBRARIES=ON
unset STEVEDORE_BUILD STEVEDORE_EXECUTABLE
in_app() { (cd "$app" && "$@"); }

in_app mix compile >"$work/log" 2>&1 || fail "mix compile: $(cat "$work/log")"
grep -rqsF "$package/c_src" "$build/app/lib/stevedore/cmake/CMakeCache.txt" || fail "it was not built from c_src"
[ -x "$package/priv/stevedore" ] || fail "priv/stevedore was not built"
ok "a fresh application compiles it, from c_src"

# As a program for other machines: no shared library is left but libc's, and those that have no static one here.
shared=$(ldd "$package/priv/stevedore" | awk '{ print $1 }' | sed 's|.*/||; s/\.so.*//' | sort | tr '\n' ' ')
for name in $shared; do
  case "$name" in
    linux-vdso | linux-gate | ld-linux* | libc | libm | libdl | libpthread | librt) ;;
    *) ! "${CC:-cc}" -print-file-name="$name.a" | grep -q / || fail "$name has a static library, and is linked shared: $shared" ;;
  esac
done
ok "STATIC_LIBRARIES: shared are only $shared"

cat >"$work/job.exs" <<'ELIXIR'
plugin = Application.app_dir(:app, "priv/plugins/word_count.so")
{:ok, _pool} = Stevedore.start_link(name: Native, workers: 1, plugins: [plugin])
{:ok, hash} = Stevedore.call(Native, "digest", %{algorithm: "sha256", data: "abc"})
{:ok, %{"words" => words}} = Stevedore.call(Native, "text.count", %{text: "one two three"})
IO.write("#{hash} #{words}")
ELIXIR
got=$(in_app mix run --no-compile "$work/job.exs")
[ "$got" = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad 3" ] || fail "the jobs said: $got"
ok "jobs run: digest, and text.count of the application's own plugin"

# --- what someone sees who lacks something ---------------------------------------------------------------------

# says WORDS COMMAND…: it fails, and what it says has the words.
says() {
  local wanted=$1 output
  shift
  if output=$(in_app "$@" 2>&1); then fail "$* did not fail"; fi
  [[ "$output" == *"$wanted"* ]] || fail "$* said: $output"
}

mkdir -p "$work/bin"
for tool in mix elixir erl sh env dirname basename readlink sed grep expr; do
  ln -sf "$(command -v "$tool")" "$work/bin/$tool"
done
nothing_built=(env MIX_BUILD_PATH="$work/none")
says "cmake, which is not on the PATH" "${nothing_built[@]}" PATH="$work/bin" mix compile
says "apt install build-essential cmake" "${nothing_built[@]}" PATH="$work/bin" mix compile
# pkg-config knows no library.
says "was not built: what is lacking is libuv." "${nothing_built[@]}" PKG_CONFIG_LIBDIR=/nowhere mix compile
says "libuv1-dev" "${nothing_built[@]}" PKG_CONFIG_LIBDIR=/nowhere mix compile
ok "who has no cmake, or lacks a library, reads what to install"

# --- a program that was built elsewhere: no cmake, no compiler ---------------------------------------------------

mkdir -p "$work/elsewhere"
mv "$package/priv/stevedore" "$work/elsewhere/stevedore"
rm -rf "$package/priv" "$app/c_src"
(
  cd "$app"
  export MIX_BUILD_PATH="$work/precompiled" STEVEDORE_EXECUTABLE="$work/elsewhere/stevedore"
  PATH="$work/bin" mix compile
) >"$work/log" 2>&1 || fail "mix compile with STEVEDORE_EXECUTABLE: $(cat "$work/log")"
[ "$("$package/priv/stevedore" --version)" = "$("$work/elsewhere/stevedore" --version)" ] || fail "priv/stevedore is not the program given"
says "cannot be run" "${nothing_built[@]}" STEVEDORE_EXECUTABLE=/nowhere/stevedore mix compile
says "this is stevedore" "${nothing_built[@]}" STEVEDORE_EXECUTABLE="$(command -v cmake)" mix compile
ok "STEVEDORE_EXECUTABLE: a program built elsewhere, without cmake"

echo "package_test: all is well"
