defmodule Stevedore.Dispatch do
  @moduledoc false
  # Where a job goes: to the ready worker with the least in flight, to the Dispatcher if none is ready, or
  # nowhere. Runs in the process that has the ticket: the caller at first, a worker or the Dispatcher when the
  # job has to move.

  alias Stevedore.{Dispatcher, Error, Quarantine, Roster, Tally, Telemetry, Ticket}

  @type refusal :: {Error.kind(), message :: String.t(), details :: map}

  @doc "Sends a job on its way; says to whom, or why not."
  @spec submit(Ticket.t(), Roster.ready(), map) :: {:ok, pid} | {:error, refusal}
  def submit(ticket, {workers, 0}, settings), do: send_to_best(ticket, workers, settings)

  def submit(ticket, {workers, _quarantined}, settings) do
    case Roster.quarantined_until(ticket.pool, Ticket.fingerprint(ticket)) do
      nil -> send_to_best(ticket, workers, settings)
      until -> {:error, Quarantine.refusal(until, System.monotonic_time(:millisecond))}
    end
  end

  defp send_to_best(ticket, workers, settings) do
    case Roster.pick(workers, settings) do
      {pid, place, _threads} ->
        :atomics.add(settings.loads, place, 1)
        :ok = Ticket.give(ticket, pid)
        {:ok, pid}

      :overloaded ->
        {:error, overloaded(settings.max_queue)}

      :none ->
        Dispatcher.hold(ticket)
    end
  end

  @doc "Why a job is refused by a pool in which so many wait."
  @spec overloaded(pos_integer) :: refusal
  def overloaded(limit) do
    {:overloaded, "#{limit} jobs wait in the pool already: try again later, or raise :max_queue",
     %{"what" => "jobs", "limit" => limit}}
  end

  @doc """
  Hands jobs that never started (or may start again) to other workers, silently. Those that cannot go
  anywhere are settled. `why` is for telemetry.
  """
  @spec move([Ticket.t()], atom) :: :ok
  def move([], _why), do: :ok

  def move([%Ticket{pool: pool} | _] = tickets, why) do
    now = System.monotonic_time()

    Enum.each(tickets, &move(&1, pool, why, now))
  end

  defp move(%Ticket{owner: nil} = ticket, _pool, _why, _now), do: Ticket.forget(ticket)

  defp move(ticket, pool, why, now) do
    Telemetry.job_moved(ticket, why)

    case resubmit(ticket, pool, now) do
      {:ok, _pid} -> :ok
      {:error, refusal} -> refuse(ticket, refusal, now)
    end
  end

  defp resubmit(%Ticket{cancelled: true}, _pool, _now) do
    {:error, {:cancelled, "cancelled before it ran", %{}}}
  end

  defp resubmit(ticket, pool, now) do
    if Ticket.expired?(ticket, now) do
      {:error, {:queue_timeout, "waited longer than its queue_timeout allowed", %{}}}
    else
      # The load of a worker that has just died still stands in the table: it is not in the list.
      case Roster.lookup(pool) do
        {:ok, ready, settings} ->
          submit(Ticket.move(ticket, now), ready, %{settings | max_queue: :infinity})

        :error ->
          {:error, {:unavailable, "the pool has stopped", %{}}}
      end
    end
  end

  @doc "Settles a job that cannot go anywhere. One that was to run again has not `never run`."
  @spec refuse(Ticket.t(), refusal, integer) :: :ok
  def refuse(%Ticket{reruns: reruns} = ticket, {kind, message, _details}, _now) when reruns > 0 do
    Ticket.settle(ticket, %Error{
      kind: if(kind == :cancelled, do: :cancelled, else: :lost),
      message: "it ran when its worker died, and was not run again: #{message}",
      details: %{"state" => "running"}
    })
  end

  def refuse(ticket, {kind, message, details}, now) do
    waited = Ticket.waited_ms(ticket, now)

    Ticket.settle(ticket, %Error{
      kind: kind,
      message: message,
      details: Map.put(details, "waited_ms", waited),
      receipt: %{queued_us: waited * 1000, ran_us: 0, cpu_us: 0}
    })
  end

  @doc "Whether somebody waits for it still. Only workers monitor callers: elsewhere it is looked at when a job would run."
  @spec wanted?(Ticket.t()) :: boolean
  def wanted?(%Ticket{owner: caller}), do: node(caller) != node() or Process.alive?(caller)

  @doc "Ends a job that nobody waits for."
  @spec drop_orphan(Ticket.t()) :: :ok
  def drop_orphan(ticket) do
    :ok = caller_died(ticket, nil)
    Ticket.forget(ticket)
  end

  @doc "Counts and tells the end of a job whose caller has died; `worker` is who has it."
  @spec caller_died(Ticket.t(), pid | nil) :: :ok
  def caller_died(%Ticket{op: op, pool: pool} = ticket, worker) do
    message = "its caller died"
    error = %Error{kind: :cancelled, message: message, op: op, pool: pool, worker: worker}
    :ok = Tally.count_error(Roster.tally(pool), error.kind)
    Telemetry.job_exception(ticket, error)
  end
end
