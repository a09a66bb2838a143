defmodule Stevedore.Caller do
  @moduledoc false
  # A job as its caller sees it; everything here runs in the caller's process. It picks a worker,
  # encodes, sends one message, and later waits for one, decodes it and turns it into a result.
  #
  # One reference does three things: it monitors the worker, is the alias that the worker replies to,
  # and is spent by the first reply, so that nothing ever arrives late.

  alias Stevedore.{Error, Job, Manager, Options, Protocol, Roster, Telemetry}
  alias Stevedore.Worker.Launch

  @type result :: {:ok, term} | {:error, Error.t()}

  @doc "Starts a job and waits for it; once more with another worker if the first was gone."
  @spec call(atom, atom | binary, term, keyword) :: result
  def call(pool, op, args, options) do
    job = start(pool, op, args, options)

    # Just started: what it has left is all of its limit, and no clock need be read.
    case wait(job, job.deadline, job.limit) do
      :refused -> call_again(job, args, options)
      result -> result
    end
  end

  defp call_again(job, args, options) do
    _error = refused(job)
    # The roster might not know yet.
    :ok = Roster.leave(job.pool, job.worker)
    job = start(job.pool, job.op, args, options)

    case await(job) do
      :refused -> refused(job)
      result -> result
    end
  end

  @doc """
  Starts a job. It may come back settled: with an error as its outcome, having never run. `worker`
  picks a certain worker; without it, any.
  """
  @spec start(atom, atom | binary, term, keyword, Roster.worker() | nil) :: Job.t()
  def start(pool, op, args, options, worker \\ nil) do
    op = Protocol.op_name!(op)

    case Roster.lookup(pool) do
      {:ok, workers, defaults} ->
        options = Options.call!(options, defaults)

        case choose(worker, workers, pool, options) do
          {:ok, worker, waited} -> dispatch(pool, op, args, options, worker, waited)
          {:error, why} -> settle(pool, op, :unavailable, why)
        end

      :error ->
        settle(pool, op, :unavailable, "there is no pool #{inspect(pool)}: is it started?")
    end
  end

  defp choose(nil, [], pool, options), do: wait_for_worker(pool, options.queue_timeout)
  defp choose(nil, workers, _pool, options), do: {:ok, Roster.pick(workers, options.loads), 0}
  defp choose(worker, _workers, _pool, _options), do: {:ok, worker, 0}

  defp wait_for_worker(pool, queue_timeout) do
    since = now()

    case Manager.await_worker(pool, queue_timeout) do
      :ok -> choose_again(pool, queue_timeout, now() - since)
      {:error, why} -> {:error, "no worker of #{inspect(pool)} is ready (#{why})"}
    end
  end

  # The worker that got ready may be gone again: wait for the next one with the time that is left.
  defp choose_again(pool, queue_timeout, waited) do
    case Roster.lookup(pool) do
      {:ok, [_ | _] = workers, settings} -> {:ok, Roster.pick(workers, settings.loads), waited}
      {:ok, [], _settings} -> wait_longer(pool, minus(queue_timeout, waited), waited)
      :error -> {:error, "the pool #{inspect(pool)} has stopped"}
    end
  end

  defp wait_longer(pool, left, waited) do
    with {:ok, worker, more} <- wait_for_worker(pool, left), do: {:ok, worker, waited + more}
  end

  defp dispatch(pool, op, args, options, {pid, place}, waited) do
    body = Protocol.encode_call(op, args, Options.waited(options, waited).wire)
    size = Protocol.call_size(body)

    if size > options.max_frame do
      why =
        "the request has #{size} bytes, the limit is #{options.max_frame}: raise :max_frame, or pass a path"

      settle(pool, op, :too_large, why, %{limit: options.max_frame})
    else
      job = new(pool, op, options, pid)
      Telemetry.job_start(job)
      :atomics.add(options.loads, place, 1)
      send(pid, {:stevedore_call, body, for_worker(job)})
      job
    end
  end

  # `limit`: the worker enforces both timeouts; this is when the caller stops believing that it does.
  defp new(pool, op, %{limit: limit, on_progress: on_progress}, worker) do
    started_at = System.monotonic_time()

    %Job{
      ref: :erlang.monitor(:process, worker, alias: alias_mode(on_progress)),
      pool: pool,
      op: op,
      owner: self(),
      worker: worker,
      started_at: started_at,
      on_progress: on_progress,
      limit: limit,
      deadline: later(started_at, limit)
    }
  end

  # Progress for the caller itself comes over the alias, which then has to survive a first message.
  defp alias_mode(on_progress) when is_function(on_progress), do: :demonitor
  defp alias_mode(_on_progress), do: :reply_demonitor

  # A function is not for the worker to call, nor to be copied with all that it refers to.
  defp for_worker(%Job{on_progress: on_progress} = job) when is_function(on_progress) do
    %{job | on_progress: :caller}
  end

  defp for_worker(job), do: job

  defp settle(pool, op, kind, message, details \\ %{}) do
    job = %Job{
      ref: make_ref(),
      pool: pool,
      op: op,
      owner: self(),
      started_at: System.monotonic_time()
    }

    Telemetry.job_start(job)
    %{job | outcome: failure(job, kind, message, details)}
  end

  @doc "The job's result, or `:refused` if the worker ended before it took the job, which never ran."
  @spec await(Job.t()) :: result | :refused
  def await(job), do: wait(job, job.deadline)

  @doc "As `await/1`, but `nil` if there is none after `timeout` ms."
  @spec yield(Job.t(), timeout) :: result | :refused | nil
  def yield(job, timeout) do
    wait(job, earlier(job.deadline, later(System.monotonic_time(), timeout)))
  end

  @doc "The error for a refused job."
  @spec refused(Job.t()) :: {:error, Error.t()}
  def refused(job), do: failure(job, :unavailable, "the worker ended before it took the job")

  @doc "Asks for the job's end; its result still comes."
  @spec cancel(Job.t()) :: :ok
  def cancel(%Job{worker: nil}), do: :ok

  def cancel(job) do
    send(job.worker, {:stevedore_cancel, for_worker(job)})
    :ok
  end

  @doc "Cancels the job and makes sure that nothing of it arrives any more."
  @spec abandon(Job.t()) :: :ok
  def abandon(%Job{worker: nil}), do: :ok

  def abandon(job) do
    Process.demonitor(job.ref, [:flush])
    send(job.worker, {:stevedore_abandon, for_worker(job)})
    flush(job.ref)
  end

  defp flush(ref) do
    receive do
      {^ref, _message} -> flush(ref)
    after
      0 -> :ok
    end
  end

  defp wait(job, until), do: wait(job, until, left(until))

  defp wait(%Job{owner: owner}, _until, _left) when owner != self() do
    raise ArgumentError, "only the process that started a job can wait for it: #{inspect(owner)}"
  end

  defp wait(%Job{outcome: {:error, _error} = outcome}, _until, _left), do: outcome

  defp wait(%Job{ref: ref} = job, until, left) do
    receive do
      {^ref, _message} = message -> continue(handle(job, message), job, until)
      {:DOWN, ^ref, :process, _pid, _reason} = down -> continue(handle(job, down), job, until)
    after
      left -> out_of_time(job, until)
    end
  end

  defp continue(:progress, job, until), do: wait(job, until)
  defp continue(result, _job, _until), do: result

  defp out_of_time(%Job{deadline: until} = job, until), do: give_up(job)
  defp out_of_time(_job, _until), do: nil

  @doc "The worker did not keep the job's limits, nor say why."
  @spec give_up(Job.t()) :: {:error, Error.t()}
  def give_up(job) do
    :ok = abandon(job)
    message = "no answer within #{job.limit} ms (queue_timeout + timeout + kill_after)"
    failure(job, :timed_out, message, %{limit_ms: job.limit})
  end

  @doc "What a message with the job's reference means."
  @spec handle(Job.t(), tuple) :: result | :refused | :progress
  def handle(job, {_ref, :refused}) do
    forget(job)
    :refused
  end

  def handle(job, {_ref, message}), do: reply(Protocol.decode_reply(message), job, message)
  def handle(_job, {:DOWN, _ref, :process, _pid, :noproc}), do: :refused

  def handle(job, {:DOWN, _ref, :process, _pid, reason}) do
    failure(job, :lost, "its worker ended: #{describe(reason)}", %{reason: reason})
  end

  defp reply({:ok, value, receipt}, job, _message) do
    forget(job)
    Telemetry.job_stop(job, receipt)
    {:ok, value}
  end

  defp reply({:error, kind, details, receipt}, job, _message) do
    forget(job)
    {message, details} = Map.pop!(details, "message")
    failure(job, kind, message, details, receipt)
  end

  defp reply({:progress, done, total}, job, _message) do
    job.on_progress.(done, total)
    :progress
  catch
    kind, reason ->
      :ok = abandon(job)
      :erlang.raise(kind, reason, __STACKTRACE__)
  end

  # The worker does not decode replies, so it has to be told that it is talking to a broken program.
  defp reply(:malformed, job, message) do
    forget(job)
    beginning = message |> binary_part(0, min(32, byte_size(message))) |> :binary.copy()
    send(job.worker, {:stevedore_malformed, beginning})

    failure(job, :lost, "its worker answered with what is no reply (PROTOCOL §5)", %{
      reason: beginning
    })
  end

  # An alias for several messages outlives the first one.
  defp forget(%Job{on_progress: on_progress} = job) when is_function(on_progress) do
    Process.demonitor(job.ref, [:flush])
  end

  defp forget(_job), do: true

  defp failure(job, kind, message, details \\ %{}, receipt \\ nil) do
    error = %Error{
      kind: kind,
      message: message,
      op: job.op,
      pool: job.pool,
      worker: job.worker,
      details: details,
      receipt: receipt
    }

    Telemetry.job_exception(job, error)
    {:error, error}
  end

  defp describe({:port_exited, status}), do: Launch.exit_status(status)
  defp describe({:port_closed, reason}), do: "its process ended (#{inspect(reason)} on its port)"
  defp describe(reason), do: inspect(reason)

  defp minus(:infinity, _waited), do: :infinity
  defp minus(timeout, waited), do: max(1, timeout - waited)

  defp now, do: System.monotonic_time(:millisecond)

  # In the clock's own unit, as what is never converted costs nothing.
  defp later(_time, :infinity), do: :infinity
  defp later(time, ms), do: time + System.convert_time_unit(ms, :millisecond, :native)

  # Any integer comes before any atom.
  defp earlier(a, b), do: min(a, b)

  @doc "ms from now until then, for `receive … after`."
  @spec left(integer | :infinity) :: timeout
  def left(:infinity), do: :infinity

  def left(until) do
    left = System.convert_time_unit(until - System.monotonic_time(), :native, :millisecond)
    max(0, left + 1)
  end
end
