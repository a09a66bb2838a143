# The code of every page, run as it stands; the rules are in tests/README.md. A page is a test, in a VM and a
# directory of its own; each has its own module, so that pages run at the same time.

alias Stevedore.Snippets.{Page, Run}

root = Path.expand("../../..", __DIR__)

for page <- Page.all(root) do
  name = page |> Path.rootname() |> String.replace(~r/\W/, "_") |> Macro.camelize()

  defmodule Module.concat(Stevedore.SnippetsTest, name) do
    use ExUnit.Case, async: true

    @moduletag :docs
    @moduletag timeout: 120_000
    @root root
    @page page
    @external_resource Path.join(root, page)

    test "#{page}: its code runs" do
      {output, status} = Run.page(@root, Path.join(@root, @page), @page)
      assert status == 0, output
    end
  end
end

defmodule Stevedore.SnippetsTest do
  use ExUnit.Case, async: true

  @moduletag :docs
  @root root

  # Nobody hides: whoever runs this sees what is not run, and why.
  test "what is not run is listed" do
    blocks =
      for page <- Page.all(@root), block <- blocks(page), do: {page, block, Page.fate(block)}

    IO.puts("\n#{Enum.count(blocks, &match?({_, _, :run}, &1))} blocks of code are run; not run:")
    for {page, block, {:not_run, why}} <- blocks, do: IO.puts("  #{page}:#{block.line} #{why}")
    missing = for {page, _block, {:missing, names}} <- blocks, do: {page, names}

    for {{page, names}, count} <- Enum.sort(Enum.frequencies(missing)) do
      IO.puts("  #{page}: #{count} that need #{Enum.join(names, ", ")}")
    end

    assert blocks != []
  end

  test "no block is in a language that nobody runs but that could be run" do
    for page <- Page.all(@root), block <- blocks(page) do
      refute block.lang in ["bash", "shell", "console", "iex", "exs"] and
               is_nil(block.not_run),
             "#{page}:#{block.line}: a block of #{inspect(block.lang)}: make it `sh` or `elixir`, or `text`"
    end
  end

  defp blocks(page), do: @root |> Path.join(page) |> File.read!() |> Page.parse()
end
