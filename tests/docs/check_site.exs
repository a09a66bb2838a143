# elixir tests/docs/check_site.exs DIRECTORY: every link, picture and script of the built site leads to something that is there.

defmodule Site do
  @moduledoc false

  # A script of versions, which ex_doc leaves to whoever hosts a site.
  @hosts_own "docs_config.js"

  def dead_links(directory) do
    pages = for file <- Path.wildcard(Path.join(directory, "*.html")), into: %{}, do: {Path.basename(file), File.read!(file)}
    ids = Map.new(pages, fn {page, html} -> {page, MapSet.new(scan(html, ~r/\sid="([^"]+)"/))} end)

    dead =
      for {page, html} <- pages,
          link <- Enum.uniq(scan(html, ~r/<(?:a|img|link|script)\s[^>]*?(?:href|src)="([^"]+)"/)),
          %{scheme: nil, host: nil} = uri <- [URI.parse(link)],
          not alive?(%{uri | path: URI.decode(uri.path || page)}, ids, directory),
          do: "#{page}: #{link}"

    {map_size(pages), dead}
  end

  defp scan(html, regex), do: for([_, found] <- Regex.scan(regex, html), do: unescape(found))

  defp unescape(text) do
    Enum.reduce([{"&quot;", "\""}, {"&#39;", "'"}, {"&lt;", "<"}, {"&gt;", ">"}, {"&amp;", "&"}], text, fn {entity, char}, text ->
      String.replace(text, entity, char)
    end)
  end

  defp alive?(%{path: @hosts_own}, _ids, _directory), do: true

  # `#content` and the like are made by the page's script.
  defp alive?(%{path: path, fragment: fragment}, ids, directory) do
    case ids do
      %{^path => there} -> fragment in [nil, "", "content", "main"] or fragment in there or URI.decode(fragment) in there
      _ -> Path.safe_relative(path) != :error and File.exists?(Path.join(directory, path))
    end
  end
end

[directory] = System.argv()

case Site.dead_links(directory) do
  {pages, []} when pages > 0 ->
    IO.puts("#{pages} pages, no dead link")

  {_pages, dead} ->
    IO.puts(:stderr, ["dead links:\n" | Enum.map(dead, &["  ", &1, "\n"])])
    System.halt(1)
end
