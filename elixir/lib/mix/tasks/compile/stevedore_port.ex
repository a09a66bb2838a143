defmodule Mix.Tasks.Compile.StevedorePort do
  @moduledoc """
  Builds the C program with CMake and puts it into `priv/`: `priv/stevedore`, and the plugin
  `priv/plugins/fault.so`.

  Its sources are the repository this project is part of, or `c_src` in a package. The build directory
  is in the application's own, so only what changed is compiled again. `mix clean` removes both.

  With the environment variable `STEVEDORE_BUILD=skip` nothing is built: pools then need the option
  `:executable`. `EI_DIR` is passed on to CMake.
  """

  use Mix.Task.Compiler

  @artifacts [{"port/stevedore", "stevedore"}, {"port/fault.so", "plugins/fault.so"}]

  @impl true
  def run(_args) do
    if System.get_env("STEVEDORE_BUILD") == "skip" do
      {:noop, []}
    else
      cmake = System.find_executable("cmake") || Mix.raise(no_cmake())
      configure(cmake)
      cmake!(cmake, ["--build", build_dir(), "--parallel", "#{System.schedulers_online()}"])
      install()
    end
  end

  @impl true
  def clean do
    _ = File.rm_rf!(build_dir())
    Enum.each(@artifacts, fn {_from, to} -> File.rm_rf!(priv(to)) end)
  end

  # Once: a build configures again by itself if it has to.
  defp configure(cmake) do
    unless File.exists?(Path.join(build_dir(), "CMakeCache.txt")) do
      options = ["-DBUILD_TESTING=OFF", "-DCMAKE_BUILD_TYPE=Release"] ++ ei_dir()
      cmake!(cmake, ["-S", source_dir(), "-B", build_dir()] ++ options)
    end
  end

  defp ei_dir do
    case System.get_env("EI_DIR") do
      nil -> []
      path -> ["-DEI_DIR=#{path}"]
    end
  end

  defp cmake!(cmake, args) do
    case System.cmd(cmake, args, stderr_to_stdout: true) do
      {_output, 0} ->
        :ok

      {output, _status} ->
        Mix.raise("the C program of Stevedore was not built:\n\n#{output}\n#{advice()}")
    end
  end

  defp install do
    changed = for {from, to} <- @artifacts, copy(Path.join(build_dir(), from), priv(to)), do: to
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

  defp source_dir do
    Enum.find(
      [Path.expand("c_src"), Path.expand("..")],
      &File.exists?(Path.join(&1, "port/CMakeLists.txt"))
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
    It needs: a C compiler, cmake >= 3.20, pkg-config, libuv, msgpack-c, yyjson, zstd, xxhash, openssl and Erlang's
    erl_interface, with their headers. On Debian 13: apt install build-essential cmake pkg-config libuv1-dev
    libmsgpack-c-dev libyyjson-dev libzstd-dev libxxhash-dev libssl-dev erlang-dev.
    To use a program that was built elsewhere: STEVEDORE_BUILD=skip, and the pool option :executable.
    """
  end
end
