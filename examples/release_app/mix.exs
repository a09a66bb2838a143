defmodule ReleaseApp.MixProject do
  use Mix.Project

  def project do
    [
      app: :release_app,
      version: "1.0.0",
      elixir: "~> 1.18",
      start_permanent: Mix.env() == :prod,
      # After the application's own: c_src/primes.c becomes priv/plugins/primes.so.
      compilers: Mix.compilers() ++ [:stevedore_plugins],
      deps: deps(),
      releases: [release_app: [include_executables_for: [:unix]]]
    ]
  end

  def application do
    [mod: {ReleaseApp.Application, []}, extra_applications: [:logger]]
  end

  # In an application of your own: {:stevedore, path: "…/stevedore/elixir"}.
  defp deps, do: [{:stevedore, path: System.get_env("STEVEDORE_PATH", "../../elixir")}]
end
