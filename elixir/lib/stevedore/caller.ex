defmodule Stevedore.Caller do
  @moduledoc false
  # A job as its caller sees it; everything here runs in the caller's process. It encodes, sends the job
  # on its way as a ticket, and later waits for one message, decodes it and turns it into a result.
  #
  # The job may move from worker to worker meanwhile; the caller does not notice. Whoever has the ticket
  # settles it, a dying worker too, through an alias that is spent by the first reply, so that nothing
  # ever arrives late. There is no monitor, which would cost every call two signals: only the sudden death of
  # a process (`Process.exit(worker, :kill)`) can take a ticket with it, and that is noticed by looking, now
  # and then while waiting, whether the process that has the job is alive (see `Stevedore.Search`).

  alias Stevedore.{
    Context,
    Dispatch,
    Error,
    Job,
    Options,
    Protocol,
    Remote,
    Roster,
    Search,
    Tally,
    Telemetry,
    Ticket
  }

  @type result :: {:ok, term} | {:error, Error.t()}

  # ms until the first look, and the longest time between two.
  @first_look 50
  @last_look 1_000

  @doc "Starts a job and waits for it."
  @spec call(atom, atom | binary, term, keyword) :: result
  def call(pool, op, args, options) do
    case dispatch(pool, op, args, options) do
      {:sent, ticket, options, worker} -> await_soon(ticket, options, worker)
      {:settled, job} -> job.outcome
    end
  end

  # Nearly every job comes to a value before its caller would look after it. Only for the others is a `Job` made, and a
  # clock read: what this process leaves behind as garbage is much of what a small call costs.
  defp await_soon(%Ticket{ref: ref} = ticket, options, worker) do
    slice = min(@first_look, options.limit)

    receive do
      {^ref, message} ->
        with {:ok, value, receipt} <- decode(message, options.on_progress) do
          :ok = Tally.count_ok(options.tally, receipt)
          Telemetry.job_stop(ticket, worker, receipt)
          {:ok, value}
        else
          _other ->
            job = %{job(ticket, options) | worker: worker}

            with :progress <- handle(job, {ref, message}),
                 do: wait(job, job.deadline, @first_look)
        end
    after
      slice ->
        look_up(%{job(ticket, options) | worker: worker}, ticket.deadline, @first_look)
    end
  end

  # An alias that is for more than one message is for handle/2 to take back.
  defp decode(_message, on_progress) when is_function(on_progress), do: :several
  defp decode({:settled, _error}, _on_progress), do: :settled
  defp decode(message, _on_progress), do: Protocol.decode_reply(message)

  @doc "Starts a job. It may come back settled: with an error as its outcome, having never run."
  @spec start(atom, atom | binary, term, keyword) :: Job.t()
  def start(pool, op, args, options) do
    case dispatch(pool, op, args, options) do
      {:sent, ticket, options, worker} -> %{job(ticket, options) | worker: worker}
      {:settled, job} -> job
    end
  end

  defp dispatch(pool, op, args, options) do
    op = Protocol.op_name!(op)

    case Roster.lookup(pool) do
      {:ok, ready, settings} ->
        options = Options.call!(options, settings)
        ticket = ticket(pool, op, Protocol.encode_call(op, args), options)
        Telemetry.job_start(ticket)

        case send_off(ticket, options, ready) do
          {:ok, worker} -> {:sent, ticket, options, worker}
          {:error, refusal} -> {:settled, settle(job(ticket, options), refusal)}
        end

      :error ->
        job = %Job{
          ref: make_ref(),
          pool: pool,
          op: op,
          owner: self(),
          started_at: now(),
          context: Context.of(Map.new(Options.validate_call!(options)))
        }

        Telemetry.job_start(job)
        {:settled, settle(job, {:unavailable, Error.no_pool_text(pool), %{}})}
    end
  end

  @doc "The ticket of a job that the calling process is to wait for."
  @spec ticket(atom, String.t(), Protocol.body(), map) :: Ticket.t()
  def ticket(pool, op, body, options) do
    started_at = now()

    %Ticket{
      id: Roster.next_id(options),
      ref: :erlang.alias([alias_mode(options.on_progress)]),
      owner: self(),
      pool: pool,
      op: op,
      body: body,
      options: options.wire,
      started_at: started_at,
      start_by: later(started_at, options.queue_native),
      deadline: later(started_at, options.limit_native),
      idempotent: options.idempotent,
      on_progress: for_worker(options.on_progress),
      context: Context.of(options)
    }
  end

  # Progress for the caller itself comes over the alias, which then has to survive a first message.
  defp alias_mode(on_progress) when is_function(on_progress), do: :explicit_unalias
  defp alias_mode(_on_progress), do: :reply

  # A function is not for the worker to call, nor to be copied with all that it refers to.
  defp for_worker(on_progress) when is_function(on_progress), do: :caller
  defp for_worker(on_progress), do: on_progress

  @doc "The job of a ticket, as who waits for it has it."
  @spec job(Ticket.t(), map) :: Job.t()
  def job(ticket, options) do
    %Job{
      ref: ticket.ref,
      id: ticket.id,
      pool: ticket.pool,
      op: ticket.op,
      owner: ticket.owner,
      started_at: ticket.started_at,
      on_progress: options.on_progress,
      ticket: ticket,
      tally: options.tally,
      context: ticket.context,
      limit: options.limit,
      deadline: ticket.deadline
    }
  end

  @doc "Sends a job to the best worker, if it is not too large."
  @spec send_off(Ticket.t(), map, Roster.ready()) :: {:ok, pid} | {:error, Dispatch.refusal()}
  def send_off(%{body: body, options: wire} = ticket, options, ready) do
    size = Protocol.call_size(body, wire)

    if size > options.max_frame,
      do: {:error, too_large(size, options.max_frame)},
      else: Dispatch.submit(ticket, ready, options)
  end

  @doc "Why a request of so many bytes is refused."
  @spec too_large(pos_integer, pos_integer) :: Dispatch.refusal()
  def too_large(size, limit) do
    {:too_large,
     "the request has #{size} bytes, the limit is #{limit}: raise :max_frame, or pass a path",
     %{"limit" => limit}}
  end

  # Nobody has the ticket: it may be forgotten.
  defp settle(job, {kind, message, details}) do
    _ = :erlang.unalias(job.ref)
    %{job | outcome: failure(job, kind, message, details)}
  end

  @doc "The job's result."
  @spec await(Job.t()) :: result
  def await(%Job{remote: %Remote{}} = job), do: Remote.await(job)
  def await(job), do: wait(job, job.deadline, first_look(job))

  @doc "As `await/1`, but `nil` if there is none after `timeout` ms."
  @spec yield(Job.t(), timeout) :: result | nil
  def yield(%Job{remote: %Remote{}} = job, timeout), do: Remote.yield(job, timeout)

  def yield(job, timeout) do
    wait(job, earlier(job.deadline, later(now(), native(timeout))), first_look(job))
  end

  # It may have gone missing long before somebody waits for it.
  defp first_look(job), do: if(Search.missing?(job), do: 0, else: @first_look)

  @doc "Asks for the job's end; its result still comes."
  @spec cancel(Job.t()) :: :ok
  # Where its caller is, it is known who has it. The ticket, with all its arguments, is not needed there.
  def cancel(%Job{owner: owner} = job) when node(owner) != node(),
    do: :erpc.cast(node(owner), __MODULE__, :cancel, [%{job | ticket: nil}])

  def cancel(%Job{remote: %Remote{}} = job), do: Remote.cancel(job)
  def cancel(%Job{worker: nil}), do: :ok

  def cancel(job) do
    Telemetry.job_cancel(job, :cancel)
    Search.cancel(job)
  end

  @doc "Cancels the job and makes sure that nothing of it arrives any more."
  @spec abandon(Job.t()) :: :ok
  def abandon(%Job{remote: %Remote{}} = job), do: Remote.abandon(job)
  def abandon(%Job{worker: nil}), do: :ok

  def abandon(job) do
    Telemetry.job_cancel(job, :abandon)
    _ = :erlang.unalias(job.ref)
    :ok = Search.tell_holder(job, {:stevedore_abandon, job.id, job.ref})
    flush(job.ref)
  end

  @doc "Removes what has come for a reference to which nothing comes any more."
  @spec flush(reference) :: :ok
  def flush(ref) do
    receive do
      {^ref, _message} -> flush(ref)
    after
      0 -> :ok
    end
  end

  ## Waiting

  defp wait(job, until, look), do: wait(job, until, look, min(look, left(until)))

  defp wait(%Job{owner: owner}, _until, _look, _slice) when owner != self() do
    raise ArgumentError, "only the process that started a job can wait for it: #{inspect(owner)}"
  end

  defp wait(%Job{outcome: {:error, _error} = outcome}, _until, _look, _slice), do: outcome

  defp wait(%Job{ref: ref} = job, until, look, slice) do
    receive do
      {^ref, _message} = message ->
        with :progress <- handle(job, message), do: wait(job, until, look)
    after
      slice -> look_up(job, until, look)
    end
  end

  defp look_up(job, until, look) do
    case look_after(job) do
      :waiting ->
        if left(until) > 0,
          do: wait(job, until, later_look(look)),
          else: out_of_time(job, until)

      result ->
        result
    end
  end

  defp later_look(look), do: min(2 * max(look, @first_look), @last_look)

  defp out_of_time(%Job{deadline: until} = job, until), do: give_up(job)
  defp out_of_time(_job, _until), do: nil

  @doc """
  Nothing has come for a while: makes sure that somebody has the job. If its worker died without a word,
  a job that never started is sent off again, and what started is lost (or crashed).
  """
  @spec look_after(Job.t()) :: :waiting | result
  def look_after(%Job{remote: %Remote{}}), do: :waiting

  def look_after(job) do
    case Search.find(job) do
      :held -> :waiting
      :moved_on -> :waiting
      {:settled, error} -> handle(job, {job.ref, {:settled, error}})
    end
  end

  @doc "The worker did not keep the job's limits, nor say why."
  @spec give_up(Job.t()) :: {:error, Error.t()}
  def give_up(%Job{remote: %Remote{}} = job), do: Remote.give_up(job)

  def give_up(job) do
    {kind, message, details} = put_an_end(job)
    failure(job, kind, message, details)
  end

  @doc "Makes sure that an overdue job ends; says what is to be said of it."
  @spec put_an_end(Job.t()) :: Dispatch.refusal()
  def put_an_end(job) do
    :ok = abandon(job)
    :ok = Search.tell_holder(job, {:stevedore_overdue, job.id, job.limit})

    {:timed_out,
     "no answer within #{job.limit} ms (queue_timeout + timeout + kill_after, and a second)",
     %{"limit_ms" => job.limit, "clock" => "limit"}}
  end

  @doc "When to look again at jobs that one waits for together: ms for `receive … after`."
  @spec next_look(Enumerable.t()) :: timeout
  def next_look(jobs) do
    first = jobs |> Enum.map(& &1.deadline) |> Enum.min()
    min(@last_look, left(first))
  end

  @doc "Whether the caller's own time is over."
  @spec overdue?(Job.t()) :: boolean
  def overdue?(job), do: left(job.deadline) == 0

  @doc "What a message with the job's reference means."
  @spec handle(Job.t(), tuple) :: result | :progress
  def handle(job, {_ref, {:settled, error}}) do
    forget(job)
    failed(job, %{error | details: Remote.locate(error.details, job)})
  end

  def handle(job, {_ref, {:from, _worker, _message}} = message), do: Remote.handle(job, message)
  def handle(job, {:DOWN, _, :process, _, _} = message), do: Remote.handle(job, message)
  def handle(job, {_ref, message}), do: reply(Protocol.decode_reply(message), job, message)

  defp reply({:ok, value, receipt}, job, _message) do
    forget(job)
    :ok = Tally.count_ok(job.tally, receipt)
    Telemetry.job_stop(job, job.worker, receipt)
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
      "reason" => inspect(beginning)
    })
  end

  # An alias for several messages outlives the first one.
  defp forget(%Job{on_progress: on_progress, ref: ref}) when is_function(on_progress) do
    :erlang.unalias(ref)
  end

  defp forget(_job), do: true

  @doc "A job's end as an error, of which telemetry is told."
  @spec failure(Job.t(), Error.kind(), String.t(), map, Error.receipt() | nil) ::
          {:error, Error.t()}
  def failure(job, kind, message, details, receipt \\ nil) do
    failed(job, %Error{
      kind: kind,
      message: message,
      op: job.op,
      pool: job.pool,
      worker: job.worker,
      details: Remote.locate(details, job),
      receipt: receipt
    })
  end

  defp failed(job, error) do
    :ok = Tally.count_error(job.tally, error.kind)
    Telemetry.job_exception(job, error)
    {:error, error}
  end

  ## Time, in the clock's own unit: what is never converted costs nothing.

  defp now, do: System.monotonic_time()

  defp native(:infinity), do: :infinity
  defp native(ms), do: System.convert_time_unit(ms, :millisecond, :native)

  defp later(_time, :infinity), do: :infinity
  defp later(time, native), do: time + native

  # Any integer comes before any atom.
  defp earlier(a, b), do: min(a, b)

  @doc "ms from now until then, for `receive … after`."
  @spec left(integer | :infinity) :: timeout
  def left(:infinity), do: :infinity

  def left(until) do
    left = System.convert_time_unit(until - now(), :native, :millisecond)
    if until > now(), do: max(0, left) + 1, else: 0
  end
end
