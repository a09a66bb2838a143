if Code.ensure_loaded?(Telemetry.Metrics) do
  defmodule Stevedore.Metrics do
    @moduledoc """
    Stevedore's telemetry as metrics, for any reporter of the `:telemetry_metrics` library. Only there if that library is.

        children = [
          {Stevedore, name: MyApp.Native},
          {Telemetry.Metrics.ConsoleReporter, metrics: Stevedore.Metrics.metrics()}
        ]

    The last values need somebody who measures, `Stevedore.Telemetry.measure/0`: with the `:telemetry_poller` library

        {:telemetry_poller, measurements: [{Stevedore.Telemetry, :measure, []}], period: 10_000}

    Tags have few values: the op is one of those that the workers have (a job whose op is not known has the tag
    `"(unknown)"`), the pool is its name as a string, and no metric is made by worker or job. Times are in milliseconds.
    """

    import Telemetry.Metrics

    alias Stevedore.Telemetry.Events

    @buckets [0.1, 0.5, 1, 5, 10, 50, 100, 500, 1_000, 5_000, 10_000, 60_000]

    @gauges [
      size: "workers there should be",
      workers: "ready workers",
      threads: "threads of the ready workers",
      in_flight: "jobs that workers have",
      running: "jobs that run",
      queued: "jobs that wait in a worker",
      waiting: "jobs that wait for a worker",
      quarantined: "jobs that are quarantined",
      circuit_open: "1 if the circuit is open",
      max_rss: "the most memory the workers have had resident"
    ]

    @doc "All of them: counters, distributions and last values."
    @spec metrics() :: [Telemetry.Metrics.t()]
    def metrics do
      for metric <- jobs() ++ workers() ++ pools() ++ gauges() do
        %{metric | tag_values: &tags(metric.tag_values.(&1))}
      end
    end

    # As people write it, without `Elixir.`.
    defp tags(%{pool: pool} = metadata), do: %{metadata | pool: inspect(pool)}

    defp jobs do
      [
        count([:job, :start], tags: [:pool], description: "jobs started"),
        count([:job, :exception],
          tags: [:pool, :op, :kind],
          tag_values: &failure/1,
          description: "jobs that did not come to a value, by kind of error"
        ),
        count([:job, :moved],
          tags: [:pool, :why],
          description: "jobs that changed their worker"
        ),
        count([:job, :settled],
          tags: [:pool, :op, :role],
          description: "jobs that had started when their worker died, and are not run again"
        )
      ] ++
        for {time, doc} <- [
              duration: "what callers of jobs that came to a value saw",
              queue_time: "what such jobs waited for a thread",
              run_time: "what they ran",
              cpu_time: "what they used of a CPU"
            ] do
          distribution([:stevedore, :job, :stop, time],
            tags: [:pool, :op],
            unit: {:native, :millisecond},
            description: doc,
            reporter_options: [buckets: @buckets]
          )
        end
    end

    # A reporter skips a counter whose measurement is not there: any that every such event has will do.
    defp count([_of, _what] = event, options) do
      {_name, measurements, _metadata} =
        List.keyfind(Events.all(), [:stevedore | event], 0)

      measurement = Enum.find([:system_time, :duration], &(&1 in measurements))

      counter(
        [:stevedore | event] ++ [:count],
        [event_name: [:stevedore | event], measurement: measurement] ++ options
      )
    end

    defp failure(%{reason: %{kind: :unknown_op}} = metadata),
      do: %{metadata | kind: :unknown_op, op: "(unknown)"}

    defp failure(%{reason: %{kind: kind}} = metadata), do: %{metadata | kind: kind}

    defp workers do
      [
        distribution("stevedore.worker.ready.duration",
          tags: [:pool],
          unit: {:native, :millisecond},
          description: "from a worker's start until it is ready",
          reporter_options: [buckets: @buckets]
        ),
        count([:worker, :wounded],
          tags: [:pool],
          description: "workers with a job that will not stop"
        ),
        count([:worker, :stop],
          tags: [:pool, :cause],
          description: "workers that have ended, by cause; `drained` is as planned"
        ),
        counter("stevedore.worker.crash.count",
          event_name: [:stevedore, :worker, :stop],
          measurement: :duration,
          keep: &match?(%{crash: %{}}, &1),
          tags: [:pool, :op, :signal],
          tag_values: &crash/1,
          description: "workers that have died of a crash, by the op that did it and how"
        )
      ]
    end

    # A reporter may ask before it looks whether the event is kept.
    defp crash(%{crash: nil} = metadata),
      do: Map.merge(metadata, %{op: "(none)", signal: "(none)"})

    # By no job's doing; by `exit`.
    defp crash(%{crash: crash} = metadata),
      do: Map.merge(metadata, %{op: crash.op || "(none)", signal: crash.signal || "(exit)"})

    defp pools do
      [
        count([:pool, :restart],
          tags: [:pool, :cause],
          description: "workers replaced after a death"
        ),
        count([:pool, :replace],
          tags: [:pool, :why],
          description: "planned replacements"
        ),
        count([:pool, :replace_failed],
          tags: [:pool, :why],
          description: "planned replacements given up"
        ),
        count([:pool, :circuit],
          tags: [:pool, :to],
          description: "times the circuit opened or closed"
        ),
        count([:pool, :quarantine],
          tags: [:pool, :op],
          description: "jobs quarantined"
        )
      ]
    end

    defp gauges do
      for {key, doc} <- @gauges do
        unit = if key == :max_rss, do: :byte, else: :unit
        last_value([:stevedore, :pool, :stats, key], tags: [:pool], unit: unit, description: doc)
      end
    end
  end
else
  defmodule Stevedore.Metrics do
    @moduledoc """
    Stevedore's telemetry as metrics. Stevedore was compiled without `:telemetry_metrics` here.
    """

    @doc "Raises, and says what to add."
    @spec metrics() :: no_return
    def metrics do
      raise "Stevedore was compiled without :telemetry_metrics: add {:telemetry_metrics, \"~> 1.0\"} to your dependencies, " <>
              "then `mix deps.compile stevedore --force`"
    end
  end
end
