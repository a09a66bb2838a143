defmodule Stevedore.Search do
  @moduledoc false
  # Who has a job? Jobs move without their callers being told, so one that wants something of a job asks for
  # it. This is not on the way of any job: it serves `cancel/1`, and callers that have waited for a while.
  #
  # A job is held by a worker (ready or not), by the Dispatcher, or on its way from one to the other for a
  # moment. If nobody has it and its reply has not come either, a process was killed with it. Then its
  # worker's black box, which the Manager still has, tells whether it had started.

  alias Stevedore.{
    Dispatch,
    Dispatcher,
    Error,
    Job,
    Manager,
    Roster,
    Ticket,
    WorkerSupervisor
  }

  # Long enough for a message from one process to another, even on a busy machine.
  @on_its_way 20
  @answer_within 5_000

  @doc """
  Sends a message about a job to the process that has it. A worker that serves passes on what is about a job that
  has left it; one that does not may be past that. The Dispatcher comes last: a job that has left a worker before the message
  came there is with it by then, or it knows the way.
  """
  @spec tell_holder(Job.t(), tuple) :: :ok
  def tell_holder(job, message) do
    send(job.worker, message)

    others =
      if job.worker in Roster.ready(job.pool),
        do: [],
        else: List.delete(Roster.present(job.pool), job.worker) ++ dispatcher(job.pool)

    Enum.each(others, &send(&1, message))
  end

  defp dispatcher(pool), do: List.wrap(Dispatcher.whereis(pool))

  @doc "Everybody who may have a job of the pool."
  @spec holders(atom) :: [pid]
  def holders(pool) do
    dispatcher(pool) ++ WorkerSupervisor.workers(pool)
  catch
    :exit, _reason -> []
  end

  @doc """
  Whether somebody has the job. If nobody does, what became of it: it is settled, or it never started and
  is sent off again.
  """
  @spec find(Job.t()) :: :held | :moved_on | {:settled, Error.t()}
  def find(%Job{worker: nil}), do: :held

  def find(job), do: if(missing?(job), do: search(job), else: :held)

  @doc "Whether there is reason to think that nobody has the job."
  @spec missing?(Job.t()) :: boolean
  def missing?(%Job{worker: nil}), do: false

  def missing?(job) do
    not Process.alive?(job.worker) or Roster.killed_since?(job.pool, job.started_at)
  end

  defp search(job) do
    with :missing <- look_once(job) do
      # It may have been in a message just then.
      Process.sleep(@on_its_way)
      with :missing <- look_once(job), do: inquire(job)
    end
  end

  defp look_once(job) do
    cond do
      held?(job) -> :held
      arrived?(job) -> :moved_on
      true -> :missing
    end
  end

  defp held?(job) do
    tag = make_ref()
    asked = for pid <- holders(job.pool), do: {pid, Process.monitor(pid)}
    for {pid, _monitor} <- asked, do: send(pid, {:stevedore_seek, job.id, job.ref, self(), tag})
    Enum.reduce(asked, false, fn one, held -> answer(one, tag) or held end)
  end

  defp answer({pid, monitor}, tag) do
    receive do
      {^tag, ^pid, held} ->
        Process.demonitor(monitor, [:flush])
        held

      {:DOWN, ^monitor, :process, ^pid, _reason} ->
        false
    after
      # Too busy to answer is alive.
      @answer_within -> Process.demonitor(monitor, [:flush]) && true
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
    :ok = Dispatch.move([ticket], :worker_killed)
    :moved_on
  end

  defp error(job, kind, message, details) do
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
