defmodule Mix.Tasks.Compile.StevedorePlugins do
  @moduledoc """
  Compiles an application's own plugins: each `c_src/NAME.c` (or `.cc`, `.cpp`) becomes `priv/plugins/NAME.so`.

      def project do
        [
          app: :my_app,
          compilers: Mix.compilers() ++ [:stevedore_plugins],
          stevedore_plugins: [flags: ["-lvips"]],
          ...
        ]
      end

  The pool finds them wherever the application is installed, in a release too:

      {Stevedore, name: MyApp.Native, plugins: [Application.app_dir(:my_app, "priv/plugins/thumbnail.so")]}

  ## Options, under `:stevedore_plugins`

    * `:directory` (default: `"c_src"`): where the sources are.
    * `:flags` (default: `[]`): more arguments for the compiler, after the source: libraries, `-I`, `-std=…`.

  `CC` and `CXX` name the compilers (`cc`, `c++`). A plugin is compiled again if its source, a header beside it,
  `stevedore.h` or the flags have changed. One that takes more than a compiler's call is better built by CMake (see the
  guide on writing an op) or Make.
  """

  use Mix.Task.Compiler

  @flags ~w(-shared -fPIC -O2 -g -Wall -fvisibility=hidden -fno-omit-frame-pointer)

  @impl true
  def run(_args) do
    built = for source <- sources(), stale?(source), do: compile!(source)
    Mix.Project.build_structure()
    if built == [], do: {:noop, []}, else: {:ok, []}
  end

  @impl true
  def clean, do: Enum.each(sources(), &File.rm_rf!(target(&1)))

  defp compile!(source) do
    target = target(source)
    File.mkdir_p!(Path.dirname(target))
    arguments = arguments(source) ++ ["-o", target <> ".new"]

    case System.cmd(compiler(source), arguments, stderr_to_stdout: true) do
      {output, 0} ->
        if output != "", do: Mix.shell().info(output)
        # By renaming: a worker may have the old file mapped.
        File.rename!(target <> ".new", target)
        File.mkdir_p!(Path.dirname(note(source)))
        File.write!(note(source), inspect(arguments(source)))

      {output, _status} ->
        Mix.raise("#{source} was not compiled:\n\n#{output}")
    end
  rescue
    error in ErlangError ->
      Mix.raise(
        "the compiler #{compiler(source)} cannot be run (#{error.original}): install it, or set CC or CXX"
      )
  end

  defp arguments(source) do
    @flags ++
      ["-I", Application.app_dir(:stevedore, "priv/include"), source] ++ option(:flags, [])
  end

  defp compiler(source) do
    if Path.extname(source) == ".c",
      do: System.get_env("CC", "cc"),
      else: System.get_env("CXX", "c++")
  end

  defp stale?(source) do
    Mix.Utils.stale?([source | headers()], [target(source)]) or
      File.read(note(source)) != {:ok, inspect(arguments(source))}
  end

  defp headers do
    [Application.app_dir(:stevedore, "priv/include/stevedore.h")] ++
      Path.wildcard(Path.join(directory(), "*.{h,hh,hpp}"))
  end

  defp sources, do: Path.wildcard(Path.join(directory(), "*.{c,cc,cpp}"))
  defp directory, do: option(:directory, "c_src")
  defp target(source), do: Path.join("priv/plugins", name(source) <> ".so")

  defp note(source),
    do: Path.join(Mix.Project.manifest_path(), "stevedore_plugin.#{name(source)}")

  defp name(source), do: source |> Path.basename() |> Path.rootname()

  defp option(key, default) do
    Mix.Project.config() |> Keyword.get(:stevedore_plugins, []) |> Keyword.get(key, default)
  end
end
