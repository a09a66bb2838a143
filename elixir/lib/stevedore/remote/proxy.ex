defmodule Stevedore.Remote.Proxy do
  @moduledoc false
  # Stands in for a caller on another node: one process for each of its jobs, on the node of the pool. To the pool it
  # is a caller as any other; replies pass through it undecoded. It ends with its job: when that is settled, when its
  # caller abandons it or dies, or when the connection to the caller's node is lost. As it is the job's owner, its
  # worker then stops the job at once, even if this process is killed.
  #
  # Only the caller's node tells telemetry of the job's start and end, unless the caller died there.

  alias Stevedore.{Caller, Dispatch, Error, Job, Options, Protocol, Roster, Search, Tally}
  alias Stevedore.Telemetry

  # ms in which a job comes that may come. It may be large and the way slow, and waiting costs nothing; but a caller
  # that has given up before it was answered does not say so.
  @comes_within 300_000

  @first_look 50
  @last_look 1_000

  @enforce_keys [:ref, :owner, :monitor, :progress, :job]
  defstruct @enforce_keys

  @typedoc "How the caller wants to hear of progress: not at all, over its alias, or as a message to a pid."
  @type progress :: nil | :alias | pid

  @type question :: %{ref: reference, owner: pid, pool: atom, op: String.t()}

  @spec progress(nil | pid | fun) :: progress
  def progress(on_progress) when is_function(on_progress), do: :alias
  def progress(on_progress), do: on_progress

  @doc "The whole life of the process: answers whether the job may come, and sees it through."
  @spec serve(question) :: :ok
  def serve(%{ref: ref, owner: owner, pool: pool, op: op}) do
    # What is logged here belongs to this node.
    true = Process.group_leader(self(), Process.whereis(:init))
    :ok = Process.set_label({__MODULE__, pool})
    monitor = Process.monitor(owner)

    case admit(pool) do
      {:ok, settings} ->
        idempotent = Roster.idempotent?(pool, op)
        send(ref, {ref, {:come, self(), Map.drop(settings, [:loads, :ids]), idempotent}})
        receive_job(pool, op, {ref, owner, monitor})

      {:error, refusal} ->
        send(ref, {ref, {:refused, refusal}})
        :ok
    end
  end

  defp admit(pool) do
    case Roster.lookup(pool) do
      {:ok, {workers, _quarantined}, settings} ->
        if Roster.pick(workers, settings) == :overloaded,
          do: {:error, Dispatch.overloaded(settings.max_queue)},
          else: {:ok, settings}

      :error ->
        {:error, no_pool(pool)}
    end
  end

  defp no_pool(pool) do
    {:unavailable, "there is no pool #{inspect(pool)} on the node #{node()}: is it started?", %{}}
  end

  defp receive_job(pool, op, {ref, owner, monitor}) do
    receive do
      {^ref, :job, body, options, progress} ->
        proxy = %__MODULE__{
          ref: ref,
          owner: owner,
          monitor: monitor,
          progress: progress,
          job: %Job{ref: ref, pool: pool, op: op, owner: owner, started_at: now()}
        }

        start(proxy, body, options)

      {^ref, :abandon} ->
        :ok

      {:DOWN, ^monitor, :process, ^owner, _reason} ->
        :ok
    after
      @comes_within -> exit({:shutdown, :nothing_came})
    end
  end

  defp start(%__MODULE__{job: %Job{pool: pool, op: op}} = proxy, body, options) do
    case Roster.lookup(pool) do
      {:ok, ready, settings} ->
        options = options |> watch(proxy.progress) |> Options.call!(settings)
        ticket = Caller.ticket(pool, op, body, options)
        job = Caller.job(ticket, options)

        case Caller.send_off(ticket, options, ready) do
          {:ok, worker} -> wait(%{proxy | job: %{job | worker: worker}}, @first_look)
          {:error, refusal} -> refuse(proxy, refusal)
        end

      :error ->
        refuse(proxy, no_pool(pool))
    end
  end

  # As a function, so that it comes here; but this process sends it on and never calls it.
  defp watch(options, nil), do: options
  defp watch(options, _progress), do: Keyword.put(options, :on_progress, &__MODULE__.passed_on/2)

  @doc false
  def passed_on(_done, _total), do: :ok

  defp wait(%__MODULE__{job: %Job{ref: job_ref} = job, ref: ref, monitor: monitor} = proxy, look) do
    receive do
      {^job_ref, message} ->
        receive_reply(proxy, message)

      {^ref, :cancel} ->
        :ok = Caller.cancel(job)
        wait(proxy, look)

      {^ref, :abandon} ->
        Caller.abandon(job)

      {:DOWN, ^monitor, :process, _owner, reason} ->
        :ok = Caller.abandon(job)
        tell_of_end(proxy, reason)
    after
      min(look, Caller.left(job.deadline)) -> look_after(proxy, look)
    end
  end

  # The job is counted here, where its pool is.
  defp receive_reply(%__MODULE__{job: job} = proxy, {:settled, error} = message) do
    :ok = Tally.count_error(job.tally, error.kind)
    deliver(proxy, message)
  end

  defp receive_reply(proxy, message) do
    case Protocol.route(message) do
      {:progress, _id, done, total} ->
        :ok = report(proxy, message, done, total)
        wait(proxy, @first_look)

      _reply ->
        :ok = Tally.count(proxy.job.tally, Protocol.decode_reply(message))
        deliver(proxy, message)
    end
  end

  defp report(%__MODULE__{progress: :alias} = proxy, message, _done, _total),
    do: deliver(proxy, message)

  defp report(%__MODULE__{progress: pid, ref: ref}, _message, done, total) do
    send(pid, {:stevedore_progress, ref, done, total})
    :ok
  end

  defp deliver(%__MODULE__{ref: ref, job: job}, message) do
    send(ref, {ref, {:from, job.worker, message}})
    :ok
  end

  defp look_after(%__MODULE__{job: job} = proxy, look) do
    with :waiting <- state(job) do
      wait(proxy, min(2 * look, @last_look))
    else
      {:settled, error} -> receive_reply(proxy, {:settled, error})
      {:overdue, refusal} -> refuse(proxy, refusal)
    end
  end

  defp state(job) do
    case {Search.find(job), Caller.overdue?(job)} do
      {{:settled, _error} = settled, _overdue} -> settled
      {_found, true} -> {:overdue, Caller.put_an_end(job)}
      {_found, false} -> :waiting
    end
  end

  defp refuse(%__MODULE__{job: job} = proxy, {kind, message, details}) do
    error = %Error{
      kind: kind,
      message: message,
      details: details,
      op: job.op,
      pool: job.pool,
      worker: job.worker
    }

    receive_reply(proxy, {:settled, error})
  end

  # Who has lost only the connection tells of it itself.
  defp tell_of_end(_proxy, :noconnection), do: :ok

  defp tell_of_end(%__MODULE__{job: job, ref: ref}, _reason) do
    error = %Error{kind: :cancelled, message: "its caller died", op: job.op, pool: job.pool}
    Telemetry.job_exception(%{job | ref: ref}, %{error | worker: job.worker})
  end

  defp now, do: System.monotonic_time()
end
