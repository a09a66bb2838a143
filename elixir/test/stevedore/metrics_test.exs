if Code.ensure_loaded?(Telemetry.Metrics) do
  defmodule Stevedore.MetricsTest do
    use Stevedore.PoolCase, async: true

    @moduletag :telemetry_metrics

    alias Stevedore.{Metrics, Telemetry}

    test "of events that there are, and of what is in them" do
      events =
        for {name, measurements, metadata} <- Telemetry.Events.all(),
            into: %{},
            do: {name, {measurements, metadata}}

      for %kind{} = metric <- Metrics.metrics() do
        {measurements, metadata} = Map.fetch!(events, metric.event_name)
        in_crash = if :crash in metadata, do: [:op, :signal], else: []
        assert metric.tags -- (metadata ++ in_crash) == []
        last = List.last(metric.name)

        assert if(kind == Elixir.Telemetry.Metrics.Counter,
                 do: last == :count,
                 else: last in measurements
               )

        assert is_binary(metric.description)
      end
    end

    test "a reporter of the library itself" do
      pool = start_pool!()
      {:ok, io} = StringIO.open("")
      metrics = Metrics.metrics()
      start_supervised!({Elixir.Telemetry.Metrics.ConsoleReporter, metrics: metrics, device: io})
      {:ok, 1} = Stevedore.call(pool, "echo", 1)
      {:error, _} = Stevedore.call(pool, "whatever", 1)
      :ok = Telemetry.measure()
      # A worker that ends as planned has not crashed.
      :ok = Stevedore.restart(pool)
      {_, text} = StringIO.contents(io)
      refute text =~ "Errored when processing"
      refute text =~ "metric skipped"
      assert text =~ ~s(pool: "#{inspect(pool)}")

      for tag <- [~s(op: "echo"), ~s(op: "\(unknown\)"), "kind: :unknown_op"],
          do: assert(text =~ tag)

      refute text =~ ~r/Tag values: .*whatever/
    end

    if Code.ensure_loaded?(TelemetryMetricsPrometheus.Core) do
      test "a Prometheus reporter" do
        pool = start_pool!()
        name = :"prometheus-#{System.unique_integer([:positive])}"

        start_supervised!(
          {TelemetryMetricsPrometheus.Core, metrics: Metrics.metrics(), name: name}
        )

        # It attaches to the events after its start; this waits for that.
        _nothing = TelemetryMetricsPrometheus.Core.scrape(name)
        for _ <- 1..3, do: {:ok, 1} = Stevedore.call(pool, "echo", 1)
        {:error, _} = Stevedore.call(pool, "nope", 1)
        :ok = Telemetry.measure()
        text = TelemetryMetricsPrometheus.Core.scrape(name)

        for {name, tags, value} <- [
              {"job_stop_run_time_count", [op: "echo", pool: inspect(pool)], 3},
              {"job_exception_count", [kind: "unknown_op", op: "(unknown)", pool: inspect(pool)],
               1},
              {"pool_stats_workers", [pool: inspect(pool)], 1}
            ] do
          assert value(text, "stevedore_" <> name, tags) == value
        end
      end

      # Labels come in any order.
      defp value(text, name, tags) do
        Enum.find_value(String.split(text, "\n"), fn line ->
          with true <- String.starts_with?(line, name <> "{"),
               true <- Enum.all?(tags, fn {key, value} -> line =~ ~s(#{key}="#{value}") end) do
            line |> String.split(" ") |> List.last() |> String.to_integer()
          else
            _other -> nil
          end
        end)
      end
    end
  end
end
