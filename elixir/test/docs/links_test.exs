defmodule Stevedore.LinksTest do
  use ExUnit.Case, async: true

  # Every relative link of every Markdown file leads to a file of the repository, and to a heading that is in it.

  @moduletag :docs
  @root Path.expand("../../..", __DIR__)

  test "no link is dead" do
    files = Enum.filter(tracked(), &(Path.extname(&1) in [".md", ".cheatmd", ".livemd"]))
    assert length(files) > 20
    dead = for file <- files, link <- links(file), not alive?(link, file), do: "#{file}: #{link}"
    assert dead == []
  end

  defp tracked do
    {files, 0} = System.cmd("git", ~w(ls-files --cached --others --exclude-standard), cd: @root)
    files |> String.split("\n", trim: true) |> Enum.filter(&File.regular?(Path.join(@root, &1)))
  end

  defp text(file), do: @root |> Path.join(file) |> File.read!() |> without_code()

  defp without_code(text), do: String.replace(text, ~r/^( *)```.*?^ *```/ms, "")

  defp links(file) do
    text = String.replace(text(file), ~r/`[^`\n]*`/, "")

    for [_, link] <- Regex.scan(~r/\]\(([^)\s]+)\)/, text),
        not (link =~ ~r/^(https?|mailto):/),
        do: link
  end

  defp alive?(link, file) do
    [path | fragment] = String.split(link, "#", parts: 2)
    target = if path == "", do: file, else: Path.join(Path.dirname(file), path)
    full = Path.expand(target, @root)
    File.exists?(full) and (fragment == [] or hd(fragment) in headings(full))
  end

  # As GitHub makes them.
  defp headings(full) do
    text = without_code(File.read!(full))

    for [_, heading] <- Regex.scan(~r/^#+ +(.+)$/m, text) do
      heading
      |> String.downcase()
      |> String.replace(~r/[^\p{L}\p{N} _-]/u, "")
      |> String.replace(" ", "-")
    end
  end
end
