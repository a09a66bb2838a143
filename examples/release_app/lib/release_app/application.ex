defmodule ReleaseApp.Application do
  @moduledoc """
  The supervision tree. Children stop in the reverse order: first what uses the pool (an endpoint, Oban, here tasks),
  the pool last, so that it is there for as long as anybody has work for it.
  """

  use Application

  @impl true
  def start(_type, _args) do
    children = [
      {Stevedore, pool_options()},
      {Task.Supervisor, name: ReleaseApp.Tasks}
    ]

    Supervisor.start_link(children, strategy: :one_for_one, name: ReleaseApp.Supervisor)
  end

  # A release may be installed anywhere and started from any directory: plugins are found through their application.
  defp pool_options do
    options = Application.fetch_env!(:release_app, ReleaseApp.Native)

    plugins =
      for {app, name} <- options[:plugins], do: Application.app_dir(app, "priv/plugins/#{name}.so")

    Keyword.merge(options, name: ReleaseApp.Native, plugins: plugins)
  end
end
