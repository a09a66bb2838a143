defmodule Stevedore.MixProject do
  use Mix.Project

  @version "0.1.0"

  def project do
    [
      app: :stevedore,
      version: @version,
      elixir: "~> 1.18",
      description: "Crash-isolated native jobs: write a C function, call it from Elixir",
      elixirc_paths: elixirc_paths(Mix.env()),
      compilers: Mix.compilers() ++ [:stevedore_port],
      start_permanent: Mix.env() == :prod,
      deps: deps(System.get_env("STEVEDORE_DEPS")),
      package: package(),
      docs: &docs/0,
      dialyzer: [flags: [:unmatched_returns, :underspecs]]
    ]
  end

  def application, do: [extra_applications: [:logger]]

  defp elixirc_paths(:test), do: ["lib", "test/support"]
  defp elixirc_paths(_env), do: ["lib"]

  # Nothing of this is needed: what works with a library is compiled where the library is there.
  @optional [
    telemetry: "~> 1.0",
    oban: "~> 2.19"
  ]

  # STEVEDORE_DEPS: unset, ordinary Hex dependencies; `none`, nothing at all; a directory, the source checkouts
  # in it, all of them, for they are each other's dependencies too.
  defp deps(nil) do
    for({name, version} <- @optional, do: {name, version, optional: true}) ++
      [
        {:postgrex, "~> 0.19", only: [:dev, :test]},
        {:ex_doc, "~> 0.34", only: :dev, runtime: false}
      ]
  end

  defp deps("none"), do: []

  defp deps(directory) do
    for mix_exs <- Path.wildcard(Path.join(directory, "*/mix.exs")) do
      path = Path.dirname(mix_exs)
      {path |> Path.basename() |> String.to_atom(), path: path, override: true}
    end
  end

  # `c_src` is what the C program is built from: the repository's CMakeLists.txt, port/ and proto/.
  defp package do
    [
      licenses: ["Apache-2.0"],
      links: %{},
      files: ~w(lib c_src mix.exs .formatter.exs README.md)
    ]
  end

  # The site is described where its pages are.
  defp docs do
    [{site, _} | _] = Code.compile_file("../docs/site.exs", __DIR__)
    site.docs(@version)
  end
end
