defmodule Mix.Tasks.Compile.StevedorePort do
  @moduledoc """
  Builds the C program with CMake and puts it into `priv/`: `priv/stevedore`, the plugin
  `priv/plugins/fault.so`, and `priv/include/stevedore.h`, against which plugins are compiled.

  Its sources are the repository this project is part of, or `c_src` in a package. The build directory
  is in the application's own, so only what changed is compiled again. `mix clean` removes both.

  ## Environment variables

    * `STEVEDORE_EXECUTABLE=PATH`: nothing is built. The program at that path, built elsewhere from the same
      release, is copied to `priv/`, and so is the `fault.so` beside it, if there is one. No compiler, CMake or
      library is needed.
    * `STEVEDORE_CMAKE_FLAGS`: more arguments for CMake, divided by blanks: `-DCMAKE_C_COMPILER=clang`, or
      `-DSTATIC_LIBRARIES=ON` for a program that other machines can run without having its libraries.
    * `EI_DIR`: the directory of Erlang's `erl_interface`, if it is not where `erl` says.
    * `STEVEDORE_BUILD=skip`: nothing is built and nothing copied; pools then need the option `:executable`.

  With other flags than the last time the program is built from scratch.
  """

  use Mix.Task.Compiler

  @artifacts [{"port/stevedore", "stevedore"}, {"port/fault.so", "plugins/fault.so"}]
  @header {"port/include/stevedore.h", "include/stevedore.h"}

  @impl true
  def run(_args) do
    case {System.get_env("STEVEDORE_BUILD"), System.get_env("STEVEDORE_EXECUTABLE")} do
      {"skip", _executable} -> {:noop, []}
      {_build, nil} -> build()
      {_build, executable} -> take_over(Path.expand(executable))
    end
  end

  @impl true
  def clean do
    _ = File.rm_rf!(build_dir())
    Enum.each([@header | @artifacts], fn {_from, to} -> File.rm_rf!(priv(to)) end)
  end

  defp build do
    cmake = System.find_executable("cmake") || Mix.raise(no_cmake())
    configure(cmake)
    cmake!(cmake, ["--build", build_dir(), "--parallel", "#{System.schedulers_online()}"])
    install(for {from, to} <- @artifacts, do: {Path.join(build_dir(), from), to})
  end

  # Once: a build configures again by itself if it has to. But it never moves to other sources or flags.
  defp configure(cmake) do
    arguments = ["-S", source_dir(), "-B", build_dir()] ++ flags()
    note = Path.join(build_dir(), "configured_with")

    unless File.read(note) == {:ok, inspect(arguments)} do
      _ = File.rm_rf!(build_dir())
      cmake!(cmake, arguments)
      File.write!(note, inspect(arguments))
    end
  end

  defp flags do
    ei_dir = System.get_env("EI_DIR")

    ["-DBUILD_TESTING=OFF", "-DCMAKE_BUILD_TYPE=Release"] ++
      if(ei_dir, do: ["-DEI_DIR=#{ei_dir}"], else: []) ++
      OptionParser.split(System.get_env("STEVEDORE_CMAKE_FLAGS", ""))
  end

  defp cmake!(cmake, args) do
    case System.cmd(cmake, args, stderr_to_stdout: true) do
      {_output, 0} ->
        :ok

      {output, _status} ->
        Mix.raise(
          "the C program of Stevedore was not built#{lack(output)}.\n\n#{output}\n#{advice()}"
        )
    end
  end

  # What CMake and pkg-config say of a library, in their many ways.
  @lacks [
    ~r/Package '([\w.+-]+)'.* not found/,
    ~r/Package ([\w.+-]+) was not found/,
    ~r/No package '([\w.+-]+)' found/,
    ~r/configuration file provided by "([\w.+-]+)"/,
    ~r/Could NOT find ([\w.+-]+)/,
    ~r/Could not find (EI_LIBRARY|ERL|PKG_CONFIG_EXECUTABLE)/,
    ~r/(No CMAKE_C_COMPILER) could be found/
  ]

  defp lack(output) do
    names = for pattern <- @lacks, [_all, name] <- Regex.scan(pattern, output), do: name
    # "could not find Threads" is said before it is looked for elsewhere.
    case Enum.uniq(names) -- ["Threads"] do
      [] -> ""
      names -> ": what is lacking is #{Enum.join(names, ", ")}"
    end
  end

  # A program for another machine, or of another release, is refused here and not when a pool starts.
  defp take_over(program) do
    version = "stevedore #{Mix.Project.config()[:version]}"

    case version_of(program) do
      {:ok, ^version} ->
        fault = program |> Path.dirname() |> Path.join("fault.so")
        plugins = if File.exists?(fault), do: [{fault, "plugins/fault.so"}], else: []
        install([{program, "stevedore"} | plugins])

      {:ok, other} ->
        Mix.raise("STEVEDORE_EXECUTABLE: #{program} is #{inspect(other)}, this is #{version}")

      {:error, why} ->
        Mix.raise("STEVEDORE_EXECUTABLE: #{program} cannot be run: #{why}")
    end
  end

  defp version_of(program) do
    case System.cmd(program, ["--version"], stderr_to_stdout: true) do
      {output, 0} -> {:ok, String.trim(output)}
      {output, status} -> {:error, "it ended with #{status}: #{output}"}
    end
  rescue
    error in ErlangError -> {:error, "#{error.original}"}
  end

  defp install(files) do
    {header, to} = @header
    files = files ++ [{Path.join(source_dir(), header), to}]
    changed = for {from, to} <- files, copy(from, priv(to)), do: to
    # Makes priv/ appear in the build directory if it has just been created.
    Mix.Project.build_structure()
    if changed == [], do: {:noop, []}, else: {:ok, []}
  end

  # By renaming: a worker may be running from the old file.
  defp copy(from, to) do
    if same?(File.stat!(from), File.stat(to)) do
      false
    else
      File.mkdir_p!(Path.dirname(to))
      File.cp!(from, to <> ".new")
      File.touch!(to <> ".new", File.stat!(from).mtime)
      File.rename!(to <> ".new", to)
      true
    end
  end

  defp same?(from, {:ok, to}), do: {from.size, from.mtime} == {to.size, to.mtime}
  defp same?(_from, {:error, _reason}), do: false

  # The repository first: `c_src` lies in it only while a package is being made.
  defp source_dir do
    Enum.find(
      [Path.expand(".."), Path.expand("c_src")],
      &Enum.all?(["port/CMakeLists.txt", "proto/error_kinds.def"], fn file ->
        File.exists?(Path.join(&1, file))
      end)
    ) ||
      Mix.raise(
        "the sources of Stevedore's C program are neither in c_src nor in the parent directory"
      )
  end

  defp build_dir, do: Path.join(Mix.Project.app_path(), "cmake")
  defp priv(file), do: Path.expand(Path.join("priv", file))

  defp no_cmake do
    "Stevedore builds its C program with cmake, which is not on the PATH.\n" <> advice()
  end

  defp advice do
    """
    It needs a C compiler, cmake >= 3.20, pkg-config and, with their headers, libuv, msgpack-c >= 6, yyjson, zstd, xxhash,
    zlib, openssl, and the erl_interface of the Erlang that runs this.

    Debian 13, Ubuntu 24.10 or later (erlang-dev only if Erlang is the system's own):
      apt install build-essential cmake pkg-config libuv1-dev libmsgpack-c-dev libyyjson-dev libzstd-dev \\
        libxxhash-dev zlib1g-dev libssl-dev erlang-dev
    Fedora (not tried):
      dnf install gcc cmake pkgconf-pkg-config erlang-erl_interface 'cmake(msgpack-c)' 'pkgconfig(libuv)' \\
        'pkgconfig(yyjson)' 'pkgconfig(libzstd)' 'pkgconfig(libxxhash)' 'pkgconfig(zlib)' 'pkgconfig(libcrypto)'
    Alpine (musl; not tried, not supported):
      apk add build-base linux-headers cmake pkgconf erlang-dev libuv-dev msgpack-c-dev yyjson-dev zstd-dev \\
        xxhash-dev zlib-dev openssl-dev
    macOS: workers run on Linux with glibc only; work in a Debian container. The libraries, for who wants to port it:
      brew install cmake pkgconf libuv msgpack yyjson zstd xxhash zlib openssl@3 erlang

    To use a program that was built elsewhere: STEVEDORE_EXECUTABLE=/path/to/stevedore mix compile.
    To build none, and to start pools with the option :executable: STEVEDORE_BUILD=skip mix compile.
    """
  end
end
