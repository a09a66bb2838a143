defmodule Stevedore.Group.Members do
  @moduledoc false
  # The nodes of a group, and how busy they are: one process on each node. It is a member of the group's `:pg` scope, tells the
  # others now and then what its own pool has to do, and keeps what they say in an ETS table that callers read.
  #
  # Callers add what they send to a node; its next word replaces that. This node's own pool is not in the table: callers
  # read its roster.

  use GenServer

  alias Stevedore.Group.Choice
  alias Stevedore.Roster

  @doc "The name of the group's `:pg` scope."
  @spec scope(atom) :: atom
  def scope(group), do: Module.concat(group, Scope)

  @spec start_link(map) :: GenServer.on_start()
  def start_link(options) do
    GenServer.start_link(__MODULE__, options, name: Module.concat(options.name, Members))
  end

  @doc "The nodes that have the pool, this one among them if it has."
  @spec all(atom) :: [Choice.member()]
  def all(group) do
    others =
      for {node, in_flight, threads} <- :ets.tab2list(group), do: {node, in_flight, threads}

    case own_load(pool!(group)) do
      {in_flight, threads} -> [{node(), in_flight, threads} | others]
      nil -> others
    end
  rescue
    # Restarting: the table is gone for a moment.
    ArgumentError -> []
  end

  @doc "Notes that a job is sent to a node."
  @spec sent(atom, node) :: :ok
  def sent(group, node) do
    _ = if node != node(), do: :ets.update_counter(group, node, {2, 1})
    :ok
  rescue
    # It has just left.
    ArgumentError -> :ok
  end

  @doc "The group's pool."
  @spec pool!(atom) :: atom
  def pool!(group) do
    :persistent_term.get({__MODULE__, group}, nil) ||
      raise ArgumentError, "there is no group #{inspect(group)} on this node: is it started?"
  end

  @doc "The `queue_timeout` of this node's pool; `nil` if it has none."
  @spec queue_timeout(atom) :: timeout | nil
  def queue_timeout(pool) do
    with {:ok, _ready, settings} <- Roster.lookup(pool),
         do: settings.queue_timeout,
         else: (:error -> nil)
  end

  defp own_load(pool) do
    case Roster.lookup(pool) do
      {:ok, {workers, _quarantined}, %{loads: loads}} ->
        {Enum.sum_by(workers, &Roster.load(&1, loads)),
         Enum.sum_by(workers, fn {_pid, _place, threads} -> threads end)}

      :error ->
        nil
    end
  end

  ## Server

  @impl true
  def init(%{name: group, pool: pool, gossip: gossip}) do
    # So that terminate/2 runs.
    Process.flag(:trap_exit, true)
    ^group = :ets.new(group, [:named_table, :public, read_concurrency: true])
    :persistent_term.put({__MODULE__, group}, pool)
    {_ref, others} = :pg.monitor(scope(group), :members)
    :ok = :pg.join(scope(group), :members, self())
    state = %{group: group, pool: pool, gossip: gossip}
    :ok = tell(others, state)
    {:ok, schedule(state)}
  end

  @impl true
  def handle_info(:gossip, state) do
    :ok = scope(state.group) |> :pg.get_members(:members) |> tell(state)
    {:noreply, schedule(state)}
  end

  def handle_info({:load, node, nil}, state) do
    true = :ets.delete(state.group, node)
    {:noreply, state}
  end

  def handle_info({:load, node, {in_flight, threads}}, state) do
    true = :ets.insert(state.group, {node, in_flight, threads})
    {:noreply, state}
  end

  # So that a new node need not wait for what it has to know.
  def handle_info({_monitor, :join, :members, pids}, state) do
    :ok = tell(pids, state)
    {:noreply, state}
  end

  def handle_info({_monitor, :leave, :members, pids}, state) do
    Enum.each(pids, &:ets.delete(state.group, node(&1)))
    {:noreply, state}
  end

  def handle_info(_other, state), do: {:noreply, state}

  @impl true
  def terminate(_reason, state), do: :persistent_term.erase({__MODULE__, state.group})

  defp schedule(state) do
    _timer = Process.send_after(self(), :gossip, state.gossip)
    state
  end

  # A connection that is full is not waited for: the next word is soon enough.
  defp tell(pids, state) do
    load = own_load(state.pool)

    for pid <- pids, pid != self() do
      _ = :erlang.send(pid, {:load, node(), load}, [:nosuspend, :noconnect])
    end

    :ok
  end
end
