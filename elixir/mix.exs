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
      docs: docs(),
      dialyzer: [flags: [:unmatched_returns, :underspecs]]
    ]
  end

  def application, do: [extra_applications: [:logger]]

  defp elixirc_paths(:test), do: ["lib", "test/support"]
  defp elixirc_paths(_env), do: ["lib"]

  # STEVEDORE_DEPS: unset, ordinary Hex dependencies; `none`, nothing at all (what is optional is left out);
  # a directory, the source checkouts in it.
  defp deps(nil) do
    [
      {:telemetry, "~> 1.0", optional: true},
      {:ex_doc, "~> 0.34", only: :dev, runtime: false}
    ]
  end

  defp deps("none"), do: []

  defp deps(directory) do
    for name <- [:telemetry], path = Path.join(directory, "#{name}"), File.dir?(path) do
      {name, path: path, override: true}
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

  defp docs do
    [
      main: "Stevedore",
      extras: ["README.md"],
      groups_for_modules: [
        "Public API": [Stevedore, Stevedore.Job, Stevedore.Error, Stevedore.Telemetry]
      ]
    ]
  end
end
