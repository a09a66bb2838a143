defmodule Stevedore.MixProject do
  use Mix.Project

  @version "0.1.0"
  # The one place that names it: for the package's metadata only.
  @repository "https://github.com/stevedore-beam/stevedore"

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
      aliases: aliases(),
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
    telemetry_metrics: "~> 1.0",
    opentelemetry_api: "~> 1.4",
    oban: "~> 2.19",
    prom_ex: "~> 1.11",
    phoenix_live_dashboard: "~> 0.8",
    phoenix_live_view: "~> 1.0"
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

  # What belongs into the package and lies outside of this directory: where it is, and where the package has it.
  # `c_src` is what the C program is built from.
  @from_repository [
    {"CMakeLists.txt", "c_src/CMakeLists.txt"},
    {"port", "c_src/port"},
    {"proto/error_kinds.def", "c_src/proto/error_kinds.def"},
    {"docs/stevedore.1", "c_src/docs/stevedore.1"},
    {"proto/PROTOCOL.md", "docs/PROTOCOL.md"},
    {"docs/job_lifecycle.md", "docs/job_lifecycle.md"},
    {"docs/guides", "docs/guides"},
    {"CHANGELOG.md", "CHANGELOG.md"},
    {"LICENSE", "LICENSE"}
  ]

  defp package do
    [
      licenses: ["Apache-2.0"],
      links: %{
        "GitHub" => @repository,
        "Changelog" => @repository <> "/blob/main/CHANGELOG.md",
        "Protocol" => @repository <> "/blob/main/proto/PROTOCOL.md"
      },
      files:
        ~w(lib priv/grafana c_src docs mix.exs .formatter.exs README.md CHANGELOG.md LICENSE usage-rules.md)
    ]
  end

  defp aliases do
    for task <- [:"hex.build", :"hex.publish"], do: {task, &with_repository(task, &1)}
  end

  # Hex packs nothing from above this directory, and a symbolic link only as such: what is to come along lies
  # here for as long as the task runs.
  defp with_repository(task, args) do
    if File.exists?("c_src"),
      do: Mix.raise("#{Path.expand("c_src")} is in the way: a rest of an interrupted #{task}?")

    copies =
      for {from, to} <- @from_repository,
          File.exists?(Path.join("..", from)),
          not File.exists?(top(to)),
          do: {Path.join("..", from), to}

    try do
      for {from, to} <- copies do
        File.mkdir_p!(Path.dirname(to))
        File.cp_r!(from, to)
      end

      Mix.Task.run(task, args)
    after
      for {_from, to} <- copies, do: File.rm_rf!(top(to))
    end
  end

  defp top(path), do: path |> Path.split() |> hd()

  # The site is described where its pages are.
  defp docs do
    [{site, _} | _] = Code.compile_file("../docs/site.exs", __DIR__)
    site.docs(@version)
  end
end
