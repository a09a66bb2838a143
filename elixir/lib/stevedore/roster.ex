defmodule Stevedore.Roster do
  @moduledoc false
  # The ready workers of a pool, in an ETS table that callers read: the only thing they need to find
  # one. Its process owns the table and is the only writer; a worker joins when it is ready, and
  # leaves before it drains or by dying.
  #
  # The table has the pool's name. One row holds the ready workers and the defaults of calls, so that
  # a call costs one lookup; a row per worker holds some facts about it.
  #
  # A worker's load is an :atomics counter. Callers add to it as they send a job; the worker sets it
  # to what it knows to be in flight whenever it reads or writes, so that a caller killed between
  # the two steps leaves no mark for long.

  use GenServer

  alias Stevedore.{Options, Telemetry}

  @type worker :: {pid, :atomics.atomics_ref()}

  @spec start_link(map) :: GenServer.on_start()
  def start_link(options), do: GenServer.start_link(__MODULE__, options, name: name(options.name))

  @doc "The ready workers and the defaults of calls; `:error` if there is no such pool."
  @spec lookup(atom) :: {:ok, [worker], map} | :error
  def lookup(pool) do
    [{:ready, workers, defaults}] = :ets.lookup(pool, :ready)
    {:ok, workers, defaults}
  rescue
    ArgumentError -> :error
  end

  @doc "The worker with the least in flight; the first of equals."
  @spec pick([worker, ...]) :: worker
  def pick([worker]), do: worker
  def pick([worker | others]), do: pick(others, worker, load(worker))

  defp pick([], best, _least), do: best

  defp pick([worker | others], best, least) do
    case load(worker) do
      load when load < least -> pick(others, worker, load)
      _load -> pick(others, best, least)
    end
  end

  @spec load(worker) :: integer
  def load({_pid, counter}), do: :atomics.get(counter, 1)

  @doc "What is known about a ready worker."
  @spec facts(atom, pid) :: map | nil
  def facts(pool, worker), do: :ets.lookup_element(pool, worker, 2, nil)

  @spec join(atom, worker, map) :: :ok
  def join(pool, worker, facts), do: GenServer.call(name(pool), {:join, worker, facts}, :infinity)

  @doc "Without a roster there is nothing to leave: when it died, its workers are stopped."
  @spec leave(atom, pid) :: :ok
  def leave(pool, pid) do
    GenServer.call(name(pool), {:leave, pid}, :infinity)
  catch
    :exit, _reason -> :ok
  end

  defp name(pool), do: Module.concat(pool, Roster)

  ## Server

  @impl true
  def init(%{name: pool} = options) do
    # So that terminate/2 runs: this is the last process of a pool to stop.
    Process.flag(:trap_exit, true)
    ^pool = :ets.new(pool, [:named_table, :protected, read_concurrency: true])
    true = :ets.insert(pool, {:ready, [], Options.call_defaults(options)})
    {:ok, pool}
  end

  @impl true
  def handle_call({:join, {pid, _counter} = worker, facts}, _from, pool) do
    _monitor = Process.monitor(pid)
    true = :ets.insert(pool, {pid, facts})
    update_ready(pool, &(&1 ++ [worker]))
    {:reply, :ok, pool}
  end

  def handle_call({:leave, pid}, _from, pool) do
    remove(pool, pid)
    {:reply, :ok, pool}
  end

  @impl true
  def handle_info({:DOWN, _monitor, :process, pid, _reason}, pool) do
    remove(pool, pid)
    {:noreply, pool}
  end

  @impl true
  def terminate(reason, pool), do: Telemetry.pool_stop(pool, reason)

  defp remove(pool, pid) do
    true = :ets.delete(pool, pid)
    update_ready(pool, &List.keydelete(&1, pid, 0))
  end

  defp update_ready(pool, change) do
    [{:ready, workers, _defaults}] = :ets.lookup(pool, :ready)
    true = :ets.update_element(pool, :ready, {2, change.(workers)})
  end
end
