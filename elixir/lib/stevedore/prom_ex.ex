if Code.ensure_loaded?(PromEx.Plugin) do
  defmodule Stevedore.PromEx do
    alias Stevedore.PromEx.Names

    @moduledoc """
    A plugin for PromEx: the metrics of `Stevedore.Metrics`, and a Grafana dashboard for them.

        defmodule MyApp.PromEx do
          use PromEx, otp_app: :my_app

          @impl true
          def plugins, do: [Stevedore.PromEx]

          @impl true
          def dashboards, do: [{:stevedore, "grafana/stevedore.json"}]

          @impl true
          def dashboard_assigns, do: [datasource_id: "prometheus", default_selected_interval: "30s"]
        end

    ## Options

    As in `{Stevedore.PromEx, poll_rate: 10_000}`:

      * `:metric_prefix` (a list of atoms, default: `[otp_app, :prom_ex, :stevedore]`): the beginning of all names. The
        dashboard needs to be told of another one, joined by `_`, by the assign `stevedore_metric_prefix`.
      * `:poll_rate` (ms, default: 5000): how often the gauges are measured, with one message to each worker.
      * `:duration_buckets` (a list of numbers): upper bounds of the histograms' buckets in ms. More of them tell percentiles
        more exactly, and each is a time series for each pool and op.

    ## Metrics

    #{Names.docs()}

    Times are in milliseconds. In front of each name is the prefix, as in `my_app_prom_ex_stevedore_job_exception_total`. The
    gauges of a pool that was stopped stay as they were.

    The groups, for PromEx's `:drop_metrics_groups`: `:stevedore_job_event_metrics`, `:stevedore_worker_event_metrics`,
    `:stevedore_pool_event_metrics`, `:stevedore_pool_polling_metrics`.

    Compiled where the `prom_ex` library (1.11) is. See `docs/guides/dashboards.md`.
    """

    use PromEx.Plugin

    @impl true
    def event_metrics(options) do
      {_polled, metrics} =
        options |> prefix() |> Names.metrics() |> Enum.split_with(&Names.polled?/1)

      for of <- [:job, :worker, :pool] do
        of_it = Enum.filter(metrics, &match?([:stevedore, ^of | _], &1.event_name))
        Event.build(:"stevedore_#{of}_event_metrics", Enum.map(of_it, &buckets(&1, options)))
      end
    end

    @impl true
    def polling_metrics(options) do
      Polling.build(
        :stevedore_pool_polling_metrics,
        Keyword.get(options, :poll_rate, 5_000),
        {Stevedore.Telemetry, :measure, []},
        options |> prefix() |> Names.metrics() |> Enum.filter(&Names.polled?/1),
        # What goes wrong once is tried again.
        detach_on_error: false
      )
    end

    defp prefix(options) do
      otp_app = Keyword.fetch!(options, :otp_app)
      Keyword.get(options, :metric_prefix, PromEx.metric_prefix(otp_app, :stevedore))
    end

    defp buckets(%Telemetry.Metrics.Distribution{} = metric, options) do
      buckets = Keyword.get(options, :duration_buckets, metric.reporter_options[:buckets])
      %{metric | reporter_options: [buckets: buckets]}
    end

    defp buckets(metric, _options), do: metric
  end
end
