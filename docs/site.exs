defmodule Stevedore.Site do
  @moduledoc false
  # The documentation site: which pages it has, in what order, and how their links, which are written for the
  # repository, become links of the site. `mix docs` and `./dev docs` read it by way of elixir/mix.exs.

  @behaviour ExDoc.Markdown

  @root Path.expand("..", __DIR__)

  # Pages in their order; of what a pattern matches, those that were not named before, by name.
  @groups [
    Introduction: ~w(docs/guides/introduction.md docs/guides/choosing.md docs/guides/cheatsheet.cheatmd
        docs/livebook/*.livemd),
    Integrations: ~w(docs/guides/{oban,liveview,broadway,ash,dashboards}.md),
    Guides: ~w(docs/guides/{writing_an_op,other_languages,testing,production,tuning,observability,cluster,troubleshooting}.md docs/guides/*.md),
    Reference: ~w(docs/job_lifecycle.md proto/PROTOCOL.md build/stevedore.h.md docs/architecture.md CHANGELOG.md),
    Project: ~w(CONTRIBUTING.md proto/README.md proto/vectors/README.md port/README.md elixir/README.md tests/README.md),
    Decisions: ~w(docs/decisions/*.md)
  ]

  # Drawings in a font that has lines.
  @style """
  <style>pre code.text { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; line-height: 1.25; font-size: 13px; }</style>
  """

  # In the order in which a reader wants them.
  @order ~w(Introduction Guides Integrations Reference Project Decisions)a

  @doc "What `docs:` of a Mix project says."
  def docs(version) do
    write_header_page()

    [
      main: "introduction",
      source_ref: "v#{version}",
      formatters: ["html"],
      markdown_processor: __MODULE__,
      extras: for({group, pages} <- groups(), page <- pages, do: extra(group, page)),
      groups_for_extras: for({group, pages} <- groups(), do: {group, Enum.map(pages, &from_project/1)}),
      groups_for_modules: modules(),
      nest_modules_by_prefix: [Stevedore],
      assets: assets(),
      before_closing_head_tag: fn :html -> @style end
    ]
  end

  defp modules do
    [
      "Jobs and pools": [Stevedore, ~r/^Stevedore\.(Job|Error|Group|Behaviour|Testing|Health)/],
      Observability: ~r/^Stevedore\.(Telemetry|Metrics|Prometheus|PromEx|LiveDashboard)/,
      Oban: ~r/^Stevedore\.Oban/
    ]
  end

  # Pictures of the guides.
  defp assets do
    for name <- ["images", "guides/images"], path = Path.join([@root, "docs", name]), File.dir?(path), into: %{} do
      {from_project(Path.join("docs", name)), "images"}
    end
  end

  defp groups do
    {groups, _} =
      Enum.map_reduce(@groups, [], fn {group, patterns}, taken ->
        pages = Enum.uniq(Enum.flat_map(patterns, &pages/1)) -- taken
        {{group, pages}, pages ++ taken}
      end)

    Enum.map(@order, &{&1, groups[&1]})
  end

  # `{a,b}` in the order in which it is written.
  defp pages(pattern) do
    case Regex.run(~r/^(.*)\{(.*)\}(.*)$/, pattern) do
      [_, before, names, rest] -> for n <- String.split(names, ","), page <- pages(before <> n <> rest), do: page
      nil -> @root |> Path.join(pattern) |> Path.wildcard() |> Enum.map(&Path.relative_to(&1, @root))
    end
  end

  defp extra(_group, page) do
    {String.to_atom(from_project(page)), [filename: page_name(page)] ++ title(page)}
  end

  # The project is one directory below the root.
  defp from_project(page), do: Path.join("..", page)

  defp page_name("docs/decisions/" <> name), do: "decision-" <> Path.rootname(name)
  defp page_name("build/stevedore.h.md"), do: "stevedore-h"

  defp page_name(page) do
    case Path.split(page) do
      [folder, "README.md"] -> "the-#{folder}-folder"
      ["proto", "vectors", "README.md"] -> "vectors"
      _ -> page |> Path.basename() |> Path.rootname() |> String.downcase() |> String.replace("_", "-")
    end
  end

  defp title("build/stevedore.h.md"), do: [title: "stevedore.h"]
  defp title("CHANGELOG.md"), do: [title: "Changelog"]
  defp title(_page), do: []

  # --- stevedore.h as a page ---------------------------------------------------------------------

  # The header itself: its opening comment as text, then its declarations, with their comments, by section.
  defp write_header_page do
    header = File.read!(Path.join(@root, "port/include/stevedore.h"))
    [_, text] = Regex.run(~r|\A/\*(.*?)\*/\n|s, header)
    # Without guards and the macros of compilers.
    [_before, rest] = String.split(header, ~r{(?=/\* The version of this header)}, parts: 2)
    sections = String.split(rest, ~r{/\* --- (?=[A-Z])})
    page = ["# stevedore.h\n\n", prose(text), "\n" | Enum.map(sections, &section/1)]
    File.mkdir_p!(Path.join(@root, "build"))
    File.write!(Path.join(@root, "build/stevedore.h.md"), page)
  end

  defp prose(comment) do
    comment
    |> String.replace(~r/^ \* ?/m, "")
    |> String.replace(~r/\A.*?\n/, "The header that an op is written against, as it is in `port/include/stevedore.h`. ")
  end

  defp section(text) do
    case Regex.run(~r/\A([A-Z][a-z ]+)\n(?: \* -+\n?)?[ -]*(.*)\z/s, text) do
      [_, title, body] -> ["\n## ", String.trim(title), "\n\n", code(opened(body))]
      nil -> ["\n## Types and the plugin\n\n", code(text)]
    end
  end

  # A section's comment was cut after its title.
  defp opened("*/" <> body), do: body
  defp opened(" *" <> _ = body), do: "/*" <> String.trim_leading(body, " *\n") |> String.replace("/*", "/* ", global: false)
  defp opened(body), do: body

  defp code(text), do: ["```c\n", String.trim(text), "\n```\n"]

  # --- links -------------------------------------------------------------------------------------

  @impl true
  def available?, do: true

  @impl true
  def to_ast(text, options) do
    text |> ExDoc.Markdown.Earmark.to_ast(options) |> relink(options[:file])
  end

  defp relink(nodes, file) when is_list(nodes), do: Enum.map(nodes, &relink(&1, file))

  defp relink({:a, attributes, content, meta}, file) do
    content = relink(content, file)

    case target(attributes[:href], file) do
      :keep -> {:a, attributes, content, meta}
      :none -> {:span, [], content, meta}
      href -> {:a, Keyword.put(attributes, :href, href), content, meta}
    end
  end

  defp relink({:img, attributes, content, meta}, _file) do
    {:img, Keyword.update(attributes, :src, nil, &picture/1), content, meta}
  end

  # On a page, a block without a language is no Elixir.
  defp relink({:pre, attributes, [{:code, [], content, meta}], more} = node, file) do
    if Path.extname(file) == ".ex", do: node, else: {:pre, attributes, [{:code, [class: "text"], content, meta}], more}
  end

  defp relink({tag, attributes, content, meta}, file), do: {tag, attributes, relink(content, file), meta}
  defp relink(other, _file), do: other

  defp picture(source), do: if(source =~ ~r/^https?:/, do: source, else: Path.join("images", Path.basename(source)))

  # A page of the site; or a file of the repository that is none: where its source is published, if anywhere.
  defp target(href, file) do
    case URI.parse(href || "") do
      %{scheme: nil, host: nil, path: path} = uri when is_binary(path) and path != "" -> target(path, uri.fragment, file)
      %{scheme: nil, host: nil, fragment: fragment} when is_binary(fragment) -> target(Path.basename(file), fragment, file)
      _elsewhere -> :keep
    end
  end

  defp target(path, fragment, file) do
    full = path |> Path.expand(Path.dirname(Path.expand(file))) |> Path.relative_to(@root)

    cond do
      page = page(full) -> page_name(page) <> ".html" <> anchor(page, fragment)
      File.exists?(Path.join(@root, full)) -> published(full, Mix.Project.config()[:source_url])
      true -> :keep
    end
  end

  defp published(_path, nil), do: :none

  defp published(path, url) do
    if File.dir?(Path.join(@root, path)), do: "#{url}/tree/main/#{path}", else: "#{url}/blob/main/#{path}"
  end

  # The heading that the repository's reader would see, by the name that it has here.
  defp anchor(_page, nil), do: ""

  defp anchor(page, fragment) do
    headings = for [_, heading] <- Regex.scan(~r/^#+ +(.+)$/m, File.read!(Path.join(@root, page))), do: heading
    heading = Enum.find(headings, fragment, &(github(&1) == fragment))
    "#" <> ExDoc.Utils.text_to_id(String.replace(heading, "`", ""))
  end

  defp github(heading) do
    heading |> String.downcase() |> String.replace(~r/[^\p{L}\p{N} _-]/u, "") |> String.replace(" ", "-")
  end

  defp page("README.md"), do: "docs/guides/introduction.md"
  defp page("port/include/stevedore.h"), do: "build/stevedore.h.md"
  defp page("docs/decisions"), do: hd(groups()[:Decisions])

  defp page(path) do
    all = for {_group, pages} <- groups(), page <- pages, do: page
    Enum.find(all, &(&1 == path or &1 == Path.join(path, "README.md")))
  end
end
