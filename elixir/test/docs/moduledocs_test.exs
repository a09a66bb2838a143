defmodule Stevedore.ModuledocsTest do
  use ExUnit.Case, async: true

  # The examples in the docs of a module: its indented blocks of code, those of the module first, then those of its
  # functions, as one page. What they take for granted comes before.

  alias Stevedore.Snippets.Run

  @moduletag :docs
  @moduletag timeout: 120_000
  @root Path.expand("../../..", __DIR__)

  @pool "{:ok, _} = Stevedore.start_link(name: MyApp.Native)"

  @granted [
    {Stevedore,
     "bytes = \"abc\"\nfiles = [\"README.md\"]\nFile.cp!(\"priv/plugins/fault.so\", \"priv/thumbnail-2.so\")"},
    {Stevedore.Job, @pool},
    {Stevedore.Telemetry, "#{@pool}\n{:ok, _} = Application.ensure_all_started(:telemetry)"}
  ]

  for {module, granted} <- @granted do
    # The tests' stand-in for telemetry is not all of it.
    if module != Stevedore.Telemetry or is_list(:code.lib_dir(:telemetry)) do
      @module module
      @granted_here granted

      test "#{inspect(module)}: its examples run" do
        blocks = @module |> docs() |> Enum.flat_map(&blocks/1)
        assert blocks != []

        file =
          Path.join(System.tmp_dir!(), "stevedore-doc-#{System.unique_integer([:positive])}.md")

        on_exit(fn -> File.rm(file) end)
        File.write!(file, Enum.map([@granted_here | blocks], &["```elixir\n", &1, "\n```\n"]))
        {output, status} = Run.page(@root, file, inspect(@module))
        assert status == 0, output
      end
    end
  end

  test "examples that are not run are listed" do
    listed = for {module, _} <- @granted, do: module

    for module <- Application.spec(:stevedore, :modules) -- listed,
        count = module |> docs() |> Enum.flat_map(&blocks/1) |> length(),
        count > 0,
        do: IO.puts("not run: #{count} blocks of code in the docs of #{inspect(module)}")
  end

  defp docs(module) do
    case Code.fetch_docs(module) do
      {:docs_v1, _, :elixir, _, %{"en" => moduledoc}, _, functions} -> docs(moduledoc, functions)
      _none -> []
    end
  end

  defp docs(moduledoc, functions) do
    [
      moduledoc
      | for(
          {{_kind, _name, _arity}, line, _, %{"en" => doc}, _} <-
            Enum.sort_by(functions, &elem(&1, 1)),
          line > 0,
          do: doc
        )
    ]
  end

  # Lines that are indented by four or more, with the empty ones between them.
  defp blocks(doc) do
    for [block] <- Regex.scan(~r/(?<=\n\n)(?:(?:    .*)?\n)*    .*(?=\n|\z)/, "\n\n" <> doc),
        code = String.replace(block, ~r/^    /m, ""),
        not (code =~ ~r/^\s*(iex>|\* )/),
        do: code
  end
end
