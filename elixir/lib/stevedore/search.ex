defmodule Stevedore.Search do
  @moduledoc false
  # Who has a job? Jobs move without their callers being told, so one that wants something of a job looks where
  # it is. This is not on the way of any job: it serves `cancel/1`, and callers that have waited for a while.
  #
  # A job whose holder is dead was killed with it, unless it is settled and its reply is waiting already. Then the
  # holder's black box, which the Manager still has, tells whether it had started.

  alias Stevedore.{Dispatch, Error, Job, Manager, Roster, Ticket, Whereabouts}

  # ms; long enough for a message that was sent to be there, even on a busy machine.
  @on_its_way 20

  @doc "The process that has the job, as far as is known, or had it last."
  @spec holder(Job.t()) :: pid
  def holder(job), do: Whereabouts.holder(job.pool, job.ref) || job.worker

  @doc "Sends a message about a job to the process that has it."
  @spec tell_holder(Job.t(), tuple) :: :ok
  def tell_holder(job, message), do: tell(fn -> holder(job) end, message, fn _message -> :ok end)

  @doc """
  Passes on a message about a job that is not, or not yet, with the calling process. `later` is how to send it to
  itself in a while.
  """
  @spec pass_on(atom, tuple, (tuple -> any)) :: :ok
  def pass_on(pool, {_what, _id, ref} = message, later),
    do: tell(fn -> Whereabouts.holder(pool, ref) end, message, later)

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
      Process.alive?(holder) -> :held
      # Its last deed was to hand it on, or to settle it.
      holder(job) != holder or arrived?(job) -> :moved_on
      true -> :missing
    end
  end

  # Its reply waits in the mailbox already.
  defp arrived?(%Job{ref: ref}) do
    {:messages, messages} = Process.info(self(), :messages)
    Enum.any?(messages, &match?({^ref, _}, &1))
  end

  defp inquire(job) do
    case Manager.inquest(job.ticket) do
      :never_started ->
        send_again(job)

      :unknown ->
        {:settled, error(job, :lost, "its worker was killed, and nobody knows more", %{})}

      {:lost, message, details, 1} ->
        lost(job, message, details)

      {kind, message, details, _deaths} ->
        {:settled, error(job, kind, message, details)}
    end
  end

  # As a worker would that settles its jobs itself.
  defp lost(%Job{ticket: ticket} = job, message, details) do
    idempotent? =
      if ticket.idempotent == nil,
        do: Roster.idempotent?(job.pool, job.op),
        else: ticket.idempotent

    if idempotent?,
      do: send_again(%{job | ticket: Ticket.again(ticket)}),
      else: {:settled, error(job, :lost, message, details)}
  end

  # Under the same id: nobody else can have it.
  defp send_again(%Job{ticket: ticket}) do
    :ok = Dispatch.move([%{ticket | moved_at: System.monotonic_time()}], :worker_killed)
    :moved_on
  end

  defp error(job, kind, message, details) do
    :ok = Whereabouts.forget(job.pool, job.ref)

    %Error{
      kind: kind,
      message: message,
      details: details,
      op: job.op,
      pool: job.pool,
      worker: job.worker
    }
  end
end
