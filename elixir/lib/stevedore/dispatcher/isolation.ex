defmodule Stevedore.Dispatcher.Isolation do
  @moduledoc false
  # Suspects: jobs that may have killed their worker. They are run again one at a time, each in a worker of its own, so
  # that it is known which one it was. Runs in the Dispatcher's process, which is told of the end of each worker.

  alias Stevedore.{
    Dispatch,
    Error,
    Telemetry,
    Ticket,
    Whereabouts,
    Worker,
    WorkerSupervisor
  }

  # `alone`: the one that runs: {monitor, worker, ticket}. `draining`: who wants to know when none runs any more.
  defstruct [:alone, :draining, waiting: :queue.new()]

  @type t :: %__MODULE__{}

  @doc "How many wait for their turn."
  @spec size(t) :: non_neg_integer
  def size(isolation), do: :queue.len(isolation.waiting)

  @spec add(t, Ticket.t(), map) :: t
  def add(isolation, ticket, options),
    do: next(%{isolation | waiting: :queue.in(ticket, isolation.waiting)}, options)

  @doc "The one of that id and reference that waits. There are never many."
  @spec find(t, non_neg_integer, reference) :: Ticket.t() | nil
  def find(isolation, id, ref),
    do: Enum.find(:queue.to_list(isolation.waiting), &(&1.id == id and &1.ref == ref))

  @spec drop(t, Ticket.t()) :: t
  def drop(isolation, ticket),
    do: %{isolation | waiting: :queue.delete(ticket, isolation.waiting)}

  @doc "The worker in which that job runs alone."
  @spec worker(t, non_neg_integer) :: pid | nil
  def worker(%{alone: {_monitor, pid, %Ticket{id: id}}}, id), do: pid
  def worker(_isolation, _id), do: nil

  @doc "None is tried any more; the one that runs has `grace` ms. `manager` is sent `:nobody_alone` when none does."
  @spec drain(t, non_neg_integer, pid, map) :: t
  def drain(isolation, grace, manager, options) do
    _ = with {_monitor, pid, _ticket} <- isolation.alone, do: Worker.retire(pid, grace)
    next(%{isolation | draining: manager}, options)
  end

  @spec open(t, map) :: t
  def open(isolation, options), do: next(%{isolation | draining: nil}, options)

  @doc """
  The worker of the one that ran alone has ended. It settles its job itself or hands it on, unless it never got so far, or
  was killed. `returned?`: whether the job has come back to this process.
  """
  @spec ended(t, reason :: term, returned? :: boolean, map) :: t
  def ended(%{alone: {_monitor, _pid, ticket}} = isolation, reason, returned?, options) do
    case reason do
      {:shutdown, :done} -> :ok
      {:shutdown, {what, _why}} when what in [:died, :planned] -> :ok
      {:shutdown, %Error{message: message}} -> settle_tried(ticket, message, returned?)
      reason -> settle_tried(ticket, "its worker ended: #{inspect(reason)}", returned?)
    end

    next(%{isolation | alone: nil}, options)
  end

  defp settle_tried(ticket, why, returned?) do
    here? = Whereabouts.holder(ticket.pool, ticket.ref) == self()
    if here? and not returned?, do: Ticket.settle(ticket, not_tried(why)), else: :ok
  end

  @doc "None of those that wait will be tried."
  @spec settle(t, String.t()) :: t
  def settle(isolation, why) do
    for ticket <- :queue.to_list(isolation.waiting), do: Ticket.settle(ticket, not_tried(why))
    %{isolation | waiting: :queue.new()}
  end

  defp next(%{draining: manager, alone: alone} = isolation, _options) when manager != nil do
    _ = if alone == nil, do: send(manager, :nobody_alone)
    settle(isolation, "the pool drains")
  end

  defp next(%{alone: nil} = isolation, options) do
    case :queue.out(isolation.waiting) do
      {{:value, ticket}, waiting} -> try_alone(ticket, %{isolation | waiting: waiting}, options)
      {:empty, _waiting} -> isolation
    end
  end

  defp next(isolation, _options), do: isolation

  defp try_alone(ticket, isolation, options) do
    cond do
      not Dispatch.wanted?(ticket) ->
        Dispatch.drop_orphan(ticket)
        next(isolation, options)

      Ticket.expired?(ticket, System.monotonic_time()) ->
        Ticket.settle(ticket, not_tried("others were tried before it, and its time is over"))
        next(isolation, options)

      true ->
        start_alone(ticket, isolation, options)
    end
  end

  defp start_alone(ticket, isolation, options) do
    pid = WorkerSupervisor.start_worker(%{options | threads: 1}, ticket)
    monitor = Process.monitor(pid)
    Worker.boot(pid)
    Telemetry.job_moved(ticket, :isolated)
    %{isolation | alone: {monitor, pid, ticket}}
  end

  defp not_tried(why) do
    %Error{
      kind: :lost,
      message: "it ran when its worker died, and was not run again to its end: #{why}",
      details: %{"state" => "running"}
    }
  end
end
