defmodule Stevedore.Manager.Draining do
  @moduledoc false
  # A pool that serves no more: its workers end, and no other is started until it is told to serve again. Functions on
  # the Manager's state, run in its process. `draining` are the callers that wait for its end: none, when it has drained.
  # Its end is when no worker is there, not even one of a suspect, which is the Dispatcher's.

  alias Stevedore.{Dispatcher, Manager, Telemetry, Worker}
  alias Stevedore.Manager.{Crew, Member}

  @doc "Makes all workers go, within `grace` ms; `callers` are told when they have."
  @spec begin(Manager.t(), [GenServer.from()], non_neg_integer) :: Manager.t()
  def begin(%{options: %{name: pool}} = manager, callers, grace) do
    Telemetry.pool_drain(pool, grace)
    :ok = Dispatcher.drain(pool, refusal(pool), grace)
    for {pid, _member} <- manager.members, do: Worker.retire(pid, grace)
    leaving = Map.new(manager.members, fn {pid, one} -> {pid, Member.leave_if(one, true)} end)
    callers = callers ++ (manager.draining || [])
    Crew.remember(%{manager | members: leaving, draining: callers, pending: %{}, alone: true})
  end

  defp refusal(pool),
    do: {:unavailable, "the pool #{inspect(pool)} is draining, or has drained", %{}}

  @doc "Tells those who wait, if all workers are gone."
  @spec done(Manager.t()) :: Manager.t()
  def done(%{draining: [_ | _], members: members, alone: false} = manager) when members == %{} do
    Telemetry.pool_drained(manager.options.name)
    answer(manager)
    %{manager | draining: []}
  end

  def done(manager), do: manager

  @doc "The pool is to serve again, whether it has drained or not."
  @spec call_off(Manager.t()) :: Manager.t()
  def call_off(%{draining: nil} = manager), do: manager

  def call_off(manager) do
    Dispatcher.open(manager.options.name)
    answer(manager)
    Crew.remember(%{manager | draining: nil})
  end

  defp answer(manager), do: Enum.each(manager.draining, &GenServer.reply(&1, :ok))
end
