# What an application writes to have the metrics.
if Code.ensure_loaded?(PromEx) do
  defmodule Stevedore.PromExApp do
    @moduledoc false
    use PromEx, otp_app: :my_app

    @impl true
    def plugins, do: [{Stevedore.PromEx, poll_rate: 50}]

    @impl true
    def dashboards, do: [{:stevedore, "grafana/stevedore.json"}]

    @impl true
    def dashboard_assigns, do: [datasource_id: "prometheus", default_selected_interval: "30s"]
  end
end
