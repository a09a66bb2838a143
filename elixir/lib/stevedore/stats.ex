defmodule Stevedore.Stats do
  @moduledoc false
  # What `Stevedore.stats/1` says, put together from the Manager (who is there, who has died), the Dispatcher
  # (what waits for a worker) and the workers themselves, which ask their processes. A process that does not
  # answer holds nobody up for long. Runs in the process that asks; nothing here is on the way of a job.

  alias Stevedore.{Dispatcher, Manager, Roster, Tally}

  # ms in which all workers have to answer.
  @answer_within 1_000

  @doc "The pool's condition; `:error` if there is no such pool, or it is just starting or stopping."
  @spec gather(atom) :: {:ok, map} | :error
  def gather(pool) do
    case Roster.lookup(pool) do
      {:ok, _ready, settings} ->
        manager = Manager.stats(pool)
        workers = complete(manager.workers, pool)
        own = %{name: pool, workers: workers, jobs: Tally.read(settings.tally)}
        {:ok, manager |> Map.merge(Dispatcher.stats(pool)) |> Map.merge(own)}

      :error ->
        :error
    end
  catch
    :exit, _reason -> :error
  end

  defp complete(workers, pool) do
    asked = for %{pid: pid, state: state} <- workers, state != :booting, do: {pid, ask(pid)}
    deadline = System.monotonic_time(:millisecond) + @answer_within
    answers = Map.new(asked, fn {pid, ref} -> {pid, answer(ref, deadline)} end)

    for worker <- workers do
      facts = Roster.facts(pool, worker.pid) || %{}
      answer = answers[worker.pid] || %{in_flight: 0, native: nil, jobs: []}
      # A Manager that was started again knows no process of before.
      known = %{
        version: facts[:version],
        threads: facts[:threads],
        os_pid: worker.os_pid || facts[:os_pid]
      }

      worker |> Map.merge(known) |> Map.merge(answer)
    end
  end

  @doc "The same as a few numbers: for `[:stevedore, :pool, :stats]`."
  @spec sum_up(map) :: %{atom => number}
  def sum_up(stats) do
    ready = Enum.count(stats.workers, &(&1.state == :ready))
    native = for %{native: %{} = native} <- stats.workers, do: native

    %{
      size: stats.size,
      workers: ready,
      threads: Enum.sum_by(native, &(&1["threads"] || 0)),
      in_flight: Enum.sum_by(stats.workers, & &1.in_flight),
      running: Enum.sum_by(native, & &1["running"]),
      queued: Enum.sum_by(native, & &1["queued"]),
      waiting: stats.waiting,
      quarantined: length(stats.quarantined),
      circuit_open: if(stats.circuit == :closed, do: 0, else: 1),
      max_rss: Enum.sum_by(native, & &1["max_rss_kb"]) * 1024
    }
  end

  @doc "Asks a worker for its process's counters. What is returned is the monitor, and where the answer goes."
  @spec ask(pid) :: reference
  def ask(pid) do
    ref = Process.monitor(pid, alias: :reply_demonitor)
    send(pid, {:stevedore_stats, ref})
    ref
  end

  @doc "The answer, if it comes by then (ms of monotonic time)."
  @spec answer(reference, integer) :: map | nil
  def answer(ref, deadline) do
    receive do
      {^ref, answer} -> answer
      {:DOWN, ^ref, :process, _pid, _reason} -> nil
    after
      max(0, deadline - System.monotonic_time(:millisecond)) ->
        Process.demonitor(ref, [:flush])
        nil
    end
  end
end
