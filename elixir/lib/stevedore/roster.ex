defmodule Stevedore.Roster do
  @moduledoc false
  # The ready workers of a pool: the only thing callers need to find one. Its process is the only
  # writer; a worker joins when it is ready, and leaves before it drains or by dying.
  #
  # What changes is in an ETS table with the pool's name: who is ready, and some facts about each. What
  # never changes as long as the pool lives is a persistent term, which costs callers no copy: the defaults
  # of calls, and `loads`, an :atomics array with the load of each worker at its own place. (The
  # array's reference in ETS would be copied by every call, which alone costs as much as the look-up.)
  #
  # Callers add to a load as they send a job; the worker sets it to what it knows to be in flight
  # whenever it reads or writes, so that a caller killed between the two steps leaves no mark for long.

  use GenServer

  alias Stevedore.{Options, Telemetry}

  @typedoc "A worker, and the place of its load."
  @type worker :: {pid, pos_integer}

  # A worker may start before the one whose place it takes has ended.
  @places_per_worker 2

  @spec start_link(map) :: GenServer.on_start()
  def start_link(options), do: GenServer.start_link(__MODULE__, options, name: name(options.name))

  @doc "The ready workers, and the defaults of calls with `loads` among them; `:error` if there is no such pool."
  @spec lookup(atom) :: {:ok, [worker], map} | :error
  def lookup(pool) do
    case :persistent_term.get({__MODULE__, pool}, nil) do
      nil -> :error
      settings -> {:ok, :ets.lookup_element(pool, :ready, 2), settings}
    end
  rescue
    ArgumentError -> :error
  end

  @doc "The worker with the least in flight; the first of equals."
  @spec pick([worker, ...], :atomics.atomics_ref()) :: worker
  def pick([worker], _loads), do: worker
  def pick([worker | others], loads), do: pick(others, loads, worker, load(worker, loads))

  defp pick([], _loads, best, _least), do: best

  defp pick([worker | others], loads, best, least) do
    case load(worker, loads) do
      load when load < least -> pick(others, loads, worker, load)
      _load -> pick(others, loads, best, least)
    end
  end

  @spec load(worker, :atomics.atomics_ref()) :: integer
  def load({_pid, place}, loads), do: :atomics.get(loads, place)

  @doc "What is known about a ready worker."
  @spec facts(atom, pid) :: map | nil
  def facts(pool, worker), do: :ets.lookup_element(pool, worker, 2, nil)

  @doc "Makes the calling worker known, and says where it is to keep its load."
  @spec join(atom, map) :: {:atomics.atomics_ref(), place :: pos_integer}
  def join(pool, facts), do: GenServer.call(name(pool), {:join, facts}, :infinity)

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
    true = :ets.insert(pool, {:ready, []})
    places = @places_per_worker * options.workers
    loads = :atomics.new(places, [])
    settings = options |> Options.call_defaults() |> Map.put(:loads, loads)
    :persistent_term.put({__MODULE__, pool}, settings)
    {:ok, %{pool: pool, loads: loads, places: places}}
  end

  @impl true
  def handle_call({:join, facts}, {pid, _tag}, roster) do
    _monitor = Process.monitor(pid)
    ready = :ets.lookup_element(roster.pool, :ready, 2)
    place = Enum.find(1..roster.places, &(not List.keymember?(ready, &1, 1)))
    :ok = :atomics.put(roster.loads, place, 0)
    true = :ets.insert(roster.pool, [{pid, facts}, {:ready, ready ++ [{pid, place}]}])
    {:reply, {roster.loads, place}, roster}
  end

  def handle_call({:leave, pid}, _from, roster) do
    remove(roster.pool, pid)
    {:reply, :ok, roster}
  end

  @impl true
  def handle_info({:DOWN, _monitor, :process, pid, _reason}, roster) do
    remove(roster.pool, pid)
    {:noreply, roster}
  end

  @impl true
  def terminate(reason, %{pool: pool}) do
    _ = :persistent_term.erase({__MODULE__, pool})
    Telemetry.pool_stop(pool, reason)
  end

  defp remove(pool, pid) do
    ready = :ets.lookup_element(pool, :ready, 2)
    true = :ets.insert(pool, {:ready, List.keydelete(ready, pid, 0)})
    true = :ets.delete(pool, pid)
  end
end
