Stevedore.Fixture.compile_all()
ExUnit.after_suite(fn _results -> Stevedore.Fixture.remove_all() end)

# Their files compile to nothing without the library.
for {module, what} <- [
      {Telemetry.Metrics, "telemetry_metrics"},
      {:otel_batch_processor, "opentelemetry and opentelemetry_api"},
      {Oban.Worker, "oban (tagged :oban)"},
      {PromEx, "prom_ex"},
      {Phoenix.LiveDashboard.Router, "phoenix_live_dashboard"}
    ],
    not Code.ensure_loaded?(module),
    do:
      IO.puts(
        "skipped: the tests with #{what}; to run them put it into a directory and name that in STEVEDORE_DEPS"
      )

# Tests that need more than one node.
without_cluster =
  case Stevedore.ClusterCase.start_distribution() do
    :ok ->
      []

    {:error, why} ->
      IO.puts(
        "skipped: the tests of several nodes (:cluster), for this VM cannot be a node: #{why}"
      )

      [:cluster]
  end

# Long enough for a loaded machine: it is only ever waited for in full by a test that fails.
ExUnit.start(
  capture_log: true,
  assert_receive_timeout: 10_000,
  exclude: [:docs | without_cluster]
)

# The code of the documentation has a part of its own in ./dev test: mix test --only docs.
