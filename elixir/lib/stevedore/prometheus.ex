defmodule Stevedore.Prometheus do
  @moduledoc """
  The pools as text for Prometheus (exposition format 0.0.4), for applications that have no metrics library. Put it behind a
  route of your own, or use the one that `Stevedore.Metrics` or PromEx offers instead; with Plug:

      get "/metrics/native" do
        conn
        |> put_resp_content_type("text/plain; version=0.0.4")
        |> send_resp(200, Stevedore.Prometheus.text())
      end

  It asks the pools when it is called (`Stevedore.stats/1`): nothing is collected in between, and no telemetry is needed.

  | metric | type | labels |
  |---|---|---|
  | `stevedore_jobs_total` | counter | `pool`, `outcome`: `ok` and the kinds of `Stevedore.Error` |
  | `stevedore_job_run_seconds` | histogram | `pool`; of jobs that came to a value |
  | `stevedore_job_queue_seconds_total` | counter | `pool`; what those had waited for a thread, in all |
  | `stevedore_worker_deaths_total` | counter | `pool`, `cause` |
  | `stevedore_pool_size`, `_workers`, `_threads`, `_in_flight`, `_running`, `_queued`, `_waiting`, `_quarantined`, `_circuit_open` | gauge | `pool` |
  | `stevedore_worker_uptime_seconds`, `_in_flight`, `_stuck_jobs`, `_max_rss_bytes` | gauge | `pool`, `os_pid` |
  | `stevedore_worker_received_bytes_total`, `_sent_bytes_total` | counter | `pool`, `os_pid` |

  Counters of a pool are kept in the VM and never go backwards as long as the pool lives, whatever becomes of its workers. Those of a
  worker have its process id as a label: when the worker is replaced, its series ends and another begins.
  """

  alias Stevedore.Stats

  @gauges [
    size: "Workers there should be.",
    workers: "Ready workers.",
    threads: "Threads of the ready workers.",
    in_flight: "Jobs that workers have.",
    running: "Jobs that run.",
    queued: "Jobs that wait in a worker.",
    waiting: "Jobs that wait for a worker.",
    quarantined: "Jobs that are quarantined.",
    circuit_open: "1 if the circuit is open, else 0."
  ]

  @doc """
  The text for these pools, or all pools of the VM. A pool that is not there is left out.

      text = Stevedore.Prometheus.text(MyApp.Native)
      true = text =~ "stevedore_pool_circuit_open{pool=\\"MyApp.Native\\"} 0"
  """
  @spec text(atom | [atom]) :: String.t()
  def text(pools \\ Stevedore.pools()) do
    render(for pool <- List.wrap(pools), {:ok, stats} <- [Stevedore.stats(pool)], do: stats)
  end

  @doc false
  # Pure: what Stevedore.stats/1 says of several pools as text.
  @spec render([map]) :: String.t()
  def render(pools) do
    IO.iodata_to_binary([
      jobs(pools),
      run_time(pools),
      queue_time(pools),
      deaths(pools),
      Enum.map(@gauges, &gauge(&1, pools)),
      workers(pools)
    ])
  end

  defp jobs(pools) do
    samples =
      for pool <- pools,
          {outcome, count} <- Enum.sort(pool.jobs.ended),
          do: {[pool: pool.name, outcome: outcome], count}

    family("stevedore_jobs_total", "counter", "Jobs that have ended, by outcome.", samples)
  end

  defp run_time(pools) do
    name = "stevedore_job_run_seconds"
    samples = for pool <- pools, do: histogram(name, pool.name, pool.jobs.run_time)
    [head(name, "histogram", "What jobs that came to a value ran."), samples]
  end

  defp histogram(name, pool, histogram) do
    [
      for(
        {us, count} <- histogram.buckets,
        do: sample(name <> "_bucket", [pool: pool, le: bound(us)], count)
      ),
      sample(name <> "_sum", [pool: pool], seconds(histogram.sum_us)),
      sample(name <> "_count", [pool: pool], histogram.count)
    ]
  end

  defp bound(:infinity), do: "+Inf"
  defp bound(us), do: seconds(us)

  defp queue_time(pools) do
    samples = for pool <- pools, do: {[pool: pool.name], seconds(pool.jobs.queue_time.sum_us)}
    help = "What jobs that came to a value had waited for a thread, in all."
    family("stevedore_job_queue_seconds_total", "counter", help, samples)
  end

  defp deaths(pools) do
    samples =
      for pool <- pools,
          {cause, count} <- Enum.sort(pool.deaths),
          do: {[pool: pool.name, cause: cause], count}

    family(
      "stevedore_worker_deaths_total",
      "counter",
      "Workers that have died, by cause.",
      samples
    )
  end

  defp gauge({key, help}, pools) do
    samples = for pool <- pools, do: {[pool: pool.name], Stats.sum_up(pool)[key]}
    family("stevedore_pool_#{key}", "gauge", help, samples)
  end

  defp workers(pools) do
    workers =
      for pool <- pools, %{native: %{} = native} = worker <- pool.workers do
        {[pool: pool.name, os_pid: worker.os_pid], worker, native}
      end

    for {name, type, help, value} <- [
          {"uptime_seconds", "gauge", "Since the worker's start.",
           fn _, native -> seconds(1_000 * native["uptime_ms"]) end},
          {"in_flight", "gauge", "Jobs that the worker has.",
           fn worker, _ -> worker.in_flight end},
          {"stuck_jobs", "gauge", "Jobs that do not stop.",
           fn worker, _ -> Enum.count(worker.jobs, & &1.stuck) end},
          {"max_rss_bytes", "gauge", "The most memory the worker has had resident.",
           fn _, native -> native["max_rss_kb"] * 1024 end},
          {"received_bytes_total", "counter", "Bytes sent to the worker.",
           fn _, native -> native["bytes_in"] end},
          {"sent_bytes_total", "counter", "Bytes that came from the worker.",
           fn _, native -> native["bytes_out"] end}
        ] do
      samples = for {labels, worker, native} <- workers, do: {labels, value.(worker, native)}
      family("stevedore_worker_" <> name, type, help, samples)
    end
  end

  ## The format

  defp family(_name, _type, _help, []), do: []

  defp family(name, type, help, samples) do
    [head(name, type, help) | for({labels, value} <- samples, do: sample(name, labels, value))]
  end

  defp head(name, type, help), do: ["# HELP ", name, ?\s, help, "\n# TYPE ", name, ?\s, type, ?\n]

  defp sample(name, labels, value) do
    labels =
      Enum.map_intersperse(labels, ?,, fn {key, value} ->
        [to_string(key), ~s(="), label(value), ?"]
      end)

    [name, ?{, labels, "} ", number(value), ?\n]
  end

  defp number(number) when is_integer(number), do: Integer.to_string(number)
  defp number(text) when is_binary(text), do: text

  defp label(value) when is_binary(value), do: escape(value)
  defp label(value) when is_integer(value), do: Integer.to_string(value)
  # A pool as people write it; anything else is a plain word.
  defp label(value) when is_atom(value),
    do: value |> inspect() |> String.trim_leading(":") |> escape()

  defp label(value), do: value |> inspect() |> escape()

  defp escape(text) do
    text
    |> String.replace("\\", "\\\\")
    |> String.replace("\"", "\\\"")
    |> String.replace("\n", "\\n")
  end

  # Exact, however large.
  defp seconds(us) do
    fraction =
      us
      |> rem(1_000_000)
      |> Integer.to_string()
      |> String.pad_leading(6, "0")
      |> String.trim_trailing("0")

    if fraction == "", do: "#{div(us, 1_000_000)}", else: "#{div(us, 1_000_000)}.#{fraction}"
  end
end
