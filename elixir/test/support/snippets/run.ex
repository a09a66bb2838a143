defmodule Stevedore.Snippets.Run do
  @moduledoc false
  # Runs one page of the documentation in this VM, which was started for it. `main/0` is what the VM does.

  alias Stevedore.Snippets.{Page, Script, Shell}

  @doc """
  Runs the page that is in `file`, in a VM and a directory of its own. The directory looks like the repository,
  without being it. Returns what was printed, and 0 if all went well.
  """
  @spec page(Path.t(), Path.t(), String.t()) :: {String.t(), non_neg_integer}
  def page(root, file, page) do
    home = Path.join(System.tmp_dir!(), "stevedore-page-#{System.unique_integer([:positive])}")
    furnish(root, home)
    {arguments, options} = vm(file, page, home)
    arguments = ["--kill-after=5", "100", "elixir" | arguments]
    result = System.cmd("timeout", arguments, [stderr_to_stdout: true] ++ options)
    File.rm_rf!(home)
    result
  end

  defp vm(file, page, home) do
    paths = for path <- code_paths(), argument <- ["-pa", path], do: argument
    code = "#{inspect(__MODULE__)}.main()"
    {paths ++ ["-e", code, "--", file, page], cd: home, env: environment(home)}
  end

  defp furnish(root, home) do
    File.mkdir_p!(Path.join(home, "priv/plugins"))

    for entry <- File.ls!(root), not String.starts_with?(entry, ".") do
      File.ln_s!(Path.join(root, entry), Path.join(home, entry))
    end

    fault = Application.app_dir(:stevedore, "priv/plugins/fault.so")
    File.ln_s!(fault, Path.join(home, "priv/plugins/fault.so"))
  end

  # The libraries; Erlang's and Elixir's own are there anyway.
  defp code_paths do
    own = [to_string(:code.root_dir()), Path.expand("../..", :code.lib_dir(:elixir))]

    for path <- :code.get_path(),
        path = Path.expand(to_string(path)),
        not String.starts_with?(path, own),
        Path.basename(path) == "ebin",
        do: path
  end

  defp environment(home) do
    user = System.user_home!()

    [
      {"HOME", home},
      {"PATH", Path.join(home, "build/port") <> ":" <> System.get_env("PATH")},
      {"CARGO_HOME", System.get_env("CARGO_HOME", Path.join(user, ".cargo"))},
      {"RUSTUP_HOME", System.get_env("RUSTUP_HOME", Path.join(user, ".rustup"))}
    ]
  end

  @doc false
  @spec main() :: no_return
  def main do
    [file, page] = System.argv()
    Logger.configure(level: :error)
    Code.put_compiler_option(:ignore_module_conflict, true)
    {:ok, _} = Application.ensure_all_started([:stevedore, :ex_unit])
    ExUnit.start(autorun: false)
    loaded = :code.all_loaded()
    home = File.cwd!()
    file |> File.read!() |> Page.parse() |> Enum.reduce(Script.new(), &run!(&1, &2, home, page))
    run_tests!(:code.all_loaded() -- loaded)
    System.halt(0)
  end

  defp run!(block, state, home, page) do
    case Page.fate(block) do
      :run -> run_block!(block, state, home, page)
      _ -> state
    end
  end

  defp run_block!(%{file: file} = block, state, home, _page) when is_binary(file) do
    path = Path.join(home, file)
    File.mkdir_p!(Path.dirname(path))
    File.write!(path, block.code <> "\n")
    if Path.extname(file) == ".ex", do: Script.compile!(path)
    state
  end

  defp run_block!(%{lang: "elixir"} = block, state, _home, page),
    do: Script.run!(block, state, page)

  defp run_block!(%{lang: "sh"} = block, state, home, page) do
    Shell.run!(block, home, page)
    state
  end

  defp run_block!(%{lang: "c"} = block, state, home, page) do
    Shell.check_c!(block, home, page)
    state
  end

  # Tests that the page defines.
  defp run_tests!(modules) do
    if Enum.any?(modules, fn {module, _} -> function_exported?(module, :__ex_unit__, 0) end) do
      %{failures: 0} = ExUnit.run()
    end

    :ok
  end
end
