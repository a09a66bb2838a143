defmodule Stevedore.Snippets.Script do
  @moduledoc false
  # Evaluates the Elixir of a page: block after block, in one binding and one environment.

  alias Stevedore.Snippets.Page

  @opaque state :: {Code.binding(), Macro.Env.t()}

  @spec new() :: state
  def new, do: {[], Code.env_for_eval(file: "page")}

  @doc "Evaluates a block of `page` and compares what its comments say."
  @spec run!(Page.block(), state, String.t()) :: state
  def run!(%{code: "import Config" <> _} = block, state, page) do
    file =
      Path.join(System.tmp_dir!(), "stevedore-config-#{System.unique_integer([:positive])}.exs")

    File.write!(file, block.code)
    _ = Application.put_all_env(Config.Reader.read!(file, env: :test))
    File.rm!(file)
    _ = page
    state
  end

  def run!(block, {binding, env}, page) do
    options = [file: page, line: block.line + 1, token_metadata: true, emit_warnings: false]
    {quoted, comments} = Code.string_to_quoted_with_comments!(block.code, options)
    env = %{env | file: page}

    quoted
    |> expressions()
    |> with_expected(for(%{text: "#=>" <> text, line: line} <- comments, do: {line, text}))
    |> Enum.reduce({binding, env}, &evaluate!(&1, &2, page))
  end

  defp expressions({:__block__, _, expressions}), do: expressions
  defp expressions(expression), do: [expression]

  # Each with its first line and the comments up to the next one.
  defp with_expected(expressions, comments) do
    starts =
      expressions |> Enum.map_reduce(0, &{first_line(&1, &2), first_line(&1, &2)}) |> elem(0)

    next = Enum.drop(starts, 1) ++ [:infinity]

    for {expression, start, next} <- Enum.zip([expressions, starts, next]) do
      {expression, start,
       Enum.map_join(for({l, t} <- comments, l >= start, l < next, do: t), " ", & &1)}
    end
  end

  defp first_line(expression, last) do
    {_, line} =
      Macro.prewalk(expression, :infinity, fn
        {_, meta, _} = node, line -> {node, min(line, Keyword.get(meta, :line, line))}
        node, line -> {node, line}
      end)

    if line == :infinity, do: last + 1, else: line
  end

  defp evaluate!({expression, line, expected}, {binding, env}, page) do
    {value, binding, env} =
      strictly("#{page}:#{line}", fn -> Code.eval_quoted_with_env(expression, binding, env) end)

    same?(expected, value) || differs!(expected, value, "#{page}:#{line}")
    {binding, env}
  end

  @doc "Compiles a file."
  @spec compile!(Path.t()) :: :ok
  def compile!(path) do
    _modules = strictly(Path.basename(path), fn -> Code.compile_file(path) end)
    :ok
  end

  # A warning is an error.
  defp strictly(where, fun) do
    {result, diagnostics} = Code.with_diagnostics(fun)

    for %{severity: severity, message: message} <- diagnostics,
        do: raise("#{where}: #{severity}: #{message}")

    result
  end

  # As `inspect` has it, or another way to write the same.
  defp same?("", _value), do: true

  defp same?(expected, value),
    do: Page.matches?(expected, text(value)) or literally?(expected, value)

  defp literally?(expected, value) do
    case Code.string_to_quoted(expected, emit_warnings: false) do
      {:ok, quoted} ->
        Macro.quoted_literal?(quoted) and elem(Code.eval_quoted(quoted), 0) == value

      {:error, _} ->
        false
    end
  end

  defp text(value), do: inspect(value, limit: :infinity, printable_limit: :infinity)

  defp differs!(expected, value, where) do
    raise "#{where}: the page says\n\n#{expected}\n\nand this is\n\n    #{text(value)}\n"
  end
end
