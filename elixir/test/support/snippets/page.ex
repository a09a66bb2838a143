defmodule Stevedore.Snippets.Page do
  @moduledoc false
  # A page of the documentation as the blocks of code in it, with what the markers before them say. The rules
  # are in tests/README.md.

  @enforce_keys [:lang, :line, :code]
  defstruct [:lang, :line, :code, :not_run, :file, needs: []]

  @type block :: %__MODULE__{
          lang: String.t(),
          line: pos_integer,
          code: String.t(),
          not_run: String.t() | nil,
          file: String.t() | nil,
          needs: [String.t()]
        }

  @doc "The pages whose code is run, as paths from the repository's root."
  @spec all(Path.t()) :: [String.t()]
  def all(root) do
    ["README.md", "docs/guides/*.md", "docs/guides/*.cheatmd", "docs/livebook/*.livemd"]
    |> Enum.flat_map(&Path.wildcard(Path.join(root, &1)))
    |> Enum.map(&Path.relative_to(&1, root))
  end

  @doc "The blocks of a page, in order."
  @spec parse(String.t()) :: [block]
  def parse(text) do
    lines = text |> String.split("\n") |> Enum.with_index(1)
    page_needs = for {line, _} <- lines, name <- marker(line, "page needs"), do: name
    for block <- blocks(lines, [], []), do: %{block | needs: page_needs ++ block.needs}
  end

  # `markers` are the comment lines just before.
  defp blocks([], _markers, blocks), do: Enum.reverse(blocks)

  defp blocks([{line, number} | rest], markers, blocks) do
    cond do
      fence = Regex.run(~r/^( *)(`{3,})([a-z_+-]*)/, line) ->
        fenced(fence, number, rest, markers, blocks)

      line == "<!-- setup" ->
        setup(number, rest, blocks)

      line =~ ~r/^ *<!--.*-->$/ ->
        blocks(rest, [line | markers], blocks)

      true ->
        blocks(rest, [], blocks)
    end
  end

  defp fenced([_line, indent, fence, lang], number, rest, markers, blocks) do
    {code, [_end | rest]} = Enum.split_while(rest, fn {line, _} -> String.trim(line) != fence end)
    block = %__MODULE__{lang: lang, line: number, code: join(code, byte_size(indent))}
    blocks(rest, [], [Enum.reduce(markers, block, &mark/2) | blocks])
  end

  defp setup(number, rest, blocks) do
    {code, [_end | rest]} = Enum.split_while(rest, fn {line, _} -> line != "-->" end)
    blocks(rest, [], [%__MODULE__{lang: "elixir", line: number, code: join(code, 0)} | blocks])
  end

  defp join(lines, indent) do
    Enum.map_join(lines, "\n", fn {line, _} -> String.replace(line, ~r/^ {0,#{indent}}/, "") end)
  end

  defp mark(line, block) do
    case {text(line, "not run"), text(line, "file")} do
      {nil, nil} -> %{block | needs: marker(line, "needs") ++ block.needs}
      {nil, file} -> %{block | file: file}
      {why, _} -> %{block | not_run: why}
    end
  end

  defp marker(line, name), do: String.split(text(line, name) || "")

  defp text(line, name) do
    case Regex.run(~r/^ *<!-- #{name}: (.+) -->$/, line) do
      [_, text] -> text
      nil -> nil
    end
  end

  @doc "What a block does when its page is run, or why it does nothing."
  @spec fate(block) :: :run | :text | {:not_run, String.t()} | {:missing, [String.t()]}
  def fate(%{not_run: why}) when is_binary(why), do: {:not_run, why}
  def fate(%{lang: lang, file: nil}) when lang not in ["elixir", "sh", "c"], do: :text

  def fate(block) do
    case Enum.reject(block.needs, &there?/1) do
      [] -> :run
      missing -> {:missing, missing}
    end
  end

  # An application of Erlang or a command.
  defp there?(name) do
    is_list(:code.lib_dir(String.to_atom(name))) or System.find_executable(name) != nil
  end

  @doc "Whether text is as expected: `…` stands for anything, spaces for nothing."
  @spec matches?(String.t(), String.t()) :: boolean
  def matches?(expected, text) do
    pattern = expected |> squeeze() |> String.split("…") |> Enum.map_join(".*", &Regex.escape/1)
    Regex.match?(~r/\A#{pattern}\z/su, squeeze(text))
  end

  defp squeeze(text), do: String.replace(text, ~r/\s/u, "")
end
