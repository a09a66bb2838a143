defmodule Stevedore.Search do
  @moduledoc false
  # Who has a job? Jobs move without their callers being told, so one that wants something of a job looks where
  # it is. This is not on the way of any job: it serves `cancel/1`, and callers that have waited for a while.
  #
  # A job whose holder is dead was killed with it, unless it is settled and its reply is waiting already. Then the
  # holder's black box, which the Manager still has, tells whether it had started.

  alias Stevedore.{Caller, Dispatch, Error, Job, Manager, Roster, Ticket, Whereabouts}

  # ms; long enough for a message that was sent to be there, even on a busy machine.
  @on_its_way 20

  @doc "The process that has the job, as far as is known, or had it last."
  @spec holder(Job.t()) :: pid
  def holder(job), do: Whereabouts.holder(job.pool, job.ref) || job.worker

  @doc "Asks for the job's end, of the process that has it, and of this one if it has to send it off again."
  @spec cancel(Job.t()) :: :ok
  def cancel(job) do
    :ok = Whereabouts.note_cancel(job)
    tell_cancel(job)
  end

  defp tell_cancel(job), do: tell_holder(job, {:stevedore_cancel, job.id, job.ref})

  @doc "Sends a message about a job to the process that has it."
  @spec tell_holder(Job.t(), tuple) :: :ok
  def tell_holder(job, message), do: tell(fn -> holder(job) end, message, fn _message -> :ok end)

  @doc """
  Passes on a message about a job that is not, or not yet, with the calling process. `later` is how to send it to
  itself in a while.
  """
  @spec pass_on(atom, tuple, (tuple -> any)) :: :ok
  def pass_on(pool, {_what, _id, ref} = message, later) do
    if Whereabouts.holder(pool, ref),
      do: tell(fn -> Whereabouts.holder(pool, ref) end, message, later),
      # It was settled before this came.
      else: Whereabouts.forget(pool, ref)
  end

  defp tell(find_holder, message, later) do
    holder = find_holder.()

    cond do
      holder == nil ->
        :ok

      holder == self() ->
        later.(message)
        :ok

      true ->
        send(holder, message)
        # It may have handed on the job as its last deed.
        if Process.alive?(holder) or find_holder.() == holder,
          do: :ok,
          else: tell(find_holder, message, later)
    end
  end

  @doc "Whether there is reason to think that nobody has the job."
  @spec missing?(Job.t()) :: boolean
  def missing?(%Job{worker: nil}), do: false
  def missing?(job), do: not Process.alive?(holder(job))

  @doc """
  Whether somebody has the job. If nobody does, what became of it: it is settled, or it never started and
  is sent off again.
  """
  @spec find(Job.t()) :: :held | :moved_on | {:settled, Error.t()}
  def find(%Job{worker: nil}), do: :held

  def find(job) do
    with :missing <- look_once(job) do
      # Its reply may have been on the way just then.
      Process.sleep(@on_its_way)
      with :missing <- look_once(job), do: inquire(job)
    end
  end

  defp look_once(job) do
    holder = holder(job)

    cond do
      Process.alive?(holder) -> held(job, holder)
      # Its last deed was to hand it on, or to settle it.
      holder(job) != holder or arrived?(job) -> :moved_on
      true -> :missing
    end
  end

  # Unless who was to send it there was killed before: then the row says so by the next look.
  defp held(job, holder) do
    mover = Whereabouts.dead_mover(job.pool, job.ref)
    _ = if mover, do: send(holder, {:stevedore_confirm, job.id, job.ref, mover})
    :held
  end

  @doc "The calling process is asked whether it has the job that `mover`, who is dead, was to send it."
  @spec confirm({:ok, Ticket.t()} | :error, atom, reference, mover :: pid) :: :ok
  def confirm({:ok, ticket}, _pool, _ref, _mover), do: Whereabouts.note(ticket, self())
  def confirm(:error, pool, ref, mover), do: Whereabouts.never_came(pool, ref, mover)

  @doc "Whether its reply waits in the mailbox already."
  @spec arrived?(Job.t()) :: boolean
  def arrived?(%Job{ref: ref}) do
    {:messages, messages} = Process.info(self(), :messages)
    Enum.any?(messages, &match?({^ref, _}, &1))
  end

  defp inquire(job) do
    case Manager.inquest(job.ticket) do
      :never_started ->
        send_again(job)

      :unknown ->
        settle(job, :lost, "its worker was killed, and nobody knows more", %{})

      {:lost, message, details, 1} ->
        lost(job, message, details)

      {kind, message, details, _deaths} ->
        settle(job, kind, message, details)
    end
  end

  # As a worker would that settles its jobs itself.
  defp lost(%Job{ticket: ticket} = job, message, details) do
    if may_run_again?(job),
      do: send_again(%{job | ticket: Ticket.again(ticket)}),
      else: settle(job, :lost, message, details)
  end

  defp may_run_again?(%Job{ticket: %{idempotent: idempotent}} = job) do
    idempotent = with nil <- idempotent, do: Roster.idempotent?(job.pool, job.op)
    idempotent and not cancelled?(job)
  end

  # Under the same id: nobody else can have it.
  defp send_again(%Job{ticket: ticket} = job) do
    ticket = %{ticket | moved_at: System.monotonic_time(), cancelled: cancelled?(job)}
    :ok = Dispatch.move([ticket], :worker_killed)
    # Who has cancelled it meanwhile may have told only the dead.
    :ok = if cancelled?(job), do: tell_cancel(job), else: :ok
    :moved_on
  end

  # A ticket as its caller has it has not heard of that.
  defp cancelled?(job), do: Whereabouts.cancelled?(job.pool, job.ref)

  # Somebody may have it all the same, whom nobody knows of: what that one says comes too late.
  defp settle(job, kind, message, details) do
    :ok = Whereabouts.forget(job.pool, job.ref)
    _ = :erlang.unalias(job.ref)
    :ok = Caller.flush(job.ref)

    error = %Error{
      kind: kind,
      message: message,
      details: details,
      op: job.op,
      pool: job.pool,
      worker: job.worker
    }

    {:settled, error}
  end
end
