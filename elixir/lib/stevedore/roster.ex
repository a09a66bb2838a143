defmodule Stevedore.Roster do
  @moduledoc false
  # The ready workers of a pool: the only thing callers need to find one. Its process is the only
  # writer; a worker joins when it is ready, and leaves before it drains or by dying.
  #
  # What changes is in an ETS table with the pool's name: who is ready, some facts about each, and which jobs
  # are quarantined. Callers keep a copy of who is ready in their process dictionary: looking whether it is still the
  # current edition costs a tenth of the look-up. What never changes as long as the pool lives is a persistent term, which costs callers no
  # copy: the defaults of calls, the counter of job ids, the tally of ended jobs, and `loads`, an :atomics array
  # with the load of each worker at its own place. (The array's reference in ETS would be copied by every call, which
  # alone costs as much as the look-up.)
  #
  # Callers add to a load as they send a job; the worker sets it to what it knows to be in flight
  # whenever it reads or writes, so that a caller killed between the two steps leaves no mark for long.

  use GenServer

  import Bitwise

  alias Stevedore.{Dispatcher, Options, Protocol, Tally, Telemetry, Whereabouts}
  alias Stevedore.Worker.Boot

  @typedoc "A worker, the place of its load, and its threads."
  @type worker :: {pid, pos_integer, pos_integer}

  @typedoc "The ready workers, and how many jobs are quarantined."
  @type ready :: {[worker], non_neg_integer}

  # Several times the most workers of a pool: an old worker keeps its place until it has ended.
  @places 4096

  @spec start_link(map) :: GenServer.on_start()
  def start_link(options), do: GenServer.start_link(__MODULE__, options, name: name(options.name))

  @doc "The ready workers, and the settings that never change; `:error` if there is no such pool."
  @spec lookup(atom) :: {:ok, ready, map} | :error
  def lookup(pool) do
    case :persistent_term.get({__MODULE__, pool}, nil) do
      nil -> :error
      settings -> {:ok, ready(pool, settings), settings}
    end
  rescue
    ArgumentError -> :error
  end

  # Who calls again keeps what it has read, until there is another edition of it.
  defp ready(pool, %{edition: edition}) do
    current = :atomics.get(edition, 1)

    case Process.get({__MODULE__, pool}) do
      {^current, ready} ->
        ready

      _none_or_older ->
        ready = :ets.lookup_element(pool, :ready, 2)
        Process.put({__MODULE__, pool}, {current, ready})
        ready
    end
  end

  @doc "The ready workers' processes."
  @spec ready(atom) :: [pid]
  def ready(pool) do
    case lookup(pool) do
      {:ok, {workers, _quarantined}, _settings} -> for {pid, _place, _threads} <- workers, do: pid
      :error -> []
    end
  end

  @doc "An id for a job: no other job of the pool has it until 2^31 more have been started."
  @spec next_id(%{:ids => :atomics.atomics_ref(), optional(any) => any}) :: Protocol.id()
  def next_id(%{ids: ids}), do: :atomics.add_get(ids, 1, 1) &&& 0x7FFFFFFF

  @doc "Where the ends of the pool's jobs are counted; `nil` if there is no such pool."
  @spec tally(atom) :: Tally.t() | nil
  def tally(pool) do
    with %{tally: tally} <- :persistent_term.get({__MODULE__, pool}, nil), do: tally
  end

  @doc "The pools that run in this VM."
  @spec pools() :: [atom]
  def pools do
    for {{__MODULE__, pool}, _settings} <- :persistent_term.get(),
        :ets.whereis(pool) != :undefined,
        do: pool
  end

  @doc "The worker with the least in flight, the first of equals; unless too many jobs wait already."
  @spec pick([worker], map) :: worker | :overloaded | :none
  def pick([], _settings), do: :none

  def pick([worker | others], %{loads: loads, max_queue: max_queue}) do
    load = load(worker, loads)
    pick(others, loads, max_queue, worker, load, load - elem(worker, 2))
  end

  # Any atom is greater than any number: :infinity is no limit.
  defp pick([], _loads, max_queue, best, _least, waiting) do
    if waiting < max_queue, do: best, else: :overloaded
  end

  defp pick([worker | others], loads, max_queue, best, least, waiting) do
    load = load(worker, loads)
    waiting = waiting + load - elem(worker, 2)

    if load < least,
      do: pick(others, loads, max_queue, worker, load, waiting),
      else: pick(others, loads, max_queue, best, least, waiting)
  end

  @spec load(worker, :atomics.atomics_ref()) :: integer
  def load({_pid, place, _threads}, loads), do: :atomics.get(loads, place)

  @doc "Threads of the ready workers, other than the calling one, that have nothing to do."
  @spec idle_elsewhere(atom) :: non_neg_integer
  def idle_elsewhere(pool) do
    case lookup(pool) do
      {:ok, {workers, _quarantined}, %{loads: loads}} ->
        Enum.sum_by(workers, fn {pid, _place, threads} = worker ->
          if pid == self(), do: 0, else: max(0, threads - load(worker, loads))
        end)

      :error ->
        0
    end
  end

  @doc "What is known about a ready worker."
  @spec facts(atom, pid) :: map | nil
  def facts(pool, worker), do: :ets.lookup_element(pool, worker, 2, nil)

  @doc "Whether the pool's workers, there may be none just now, say of an op that it may be run again."
  @spec idempotent?(atom, String.t()) :: boolean
  def idempotent?(pool, op) do
    op in :ets.lookup_element(pool, :idempotent, 2)
  rescue
    ArgumentError -> false
  end

  @doc "Makes the calling worker known, and says where it is to keep its load."
  @spec join(atom, map) :: {:atomics.atomics_ref(), place :: pos_integer}
  def join(pool, facts), do: GenServer.call(name(pool), {:join, facts}, :infinity)

  @doc "Without a roster there is nothing to leave: when it died, its workers are stopped."
  @spec leave(atom, pid) :: :ok
  def leave(pool, pid), do: call(pool, {:leave, pid})

  @doc "Since when a job is refused, in ms of monotonic time; `nil` if it is not."
  @spec quarantined_until(atom, binary) :: integer | nil
  def quarantined_until(pool, fingerprint) do
    :ets.lookup_element(pool, {:quarantined, fingerprint}, 2, nil)
  end

  @doc "Replaces the quarantined jobs: a map of fingerprints to ops and ends."
  @spec quarantine(atom, %{binary => {String.t(), integer}}) :: :ok
  def quarantine(pool, quarantined), do: call(pool, {:quarantine, quarantined})

  @doc "Keeps something for a Manager that may crash."
  @spec remember(atom, term) :: :ok
  def remember(pool, term), do: call(pool, {:remember, term})

  @doc "What was kept; `nil` if nothing was."
  @spec recall(atom) :: term
  def recall(pool), do: :ets.lookup_element(pool, :remembered, 2, nil)

  defp call(pool, request) do
    GenServer.call(name(pool), request, :infinity)
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
    edition = :atomics.new(1, [])
    :ok = publish(pool, {[], 0}, edition)
    true = :ets.insert(pool, {:idempotent, MapSet.new()})
    :ok = Boot.sweep(options.directory)
    loads = :atomics.new(@places, [])
    :ok = Whereabouts.new(pool)
    own = %{edition: edition, loads: loads, ids: :atomics.new(1, []), tally: Tally.new()}
    settings = Map.merge(Options.call_defaults(options), own)
    :persistent_term.put({__MODULE__, pool}, settings)
    {:ok, %{pool: pool, edition: edition, loads: loads, places: %{}}}
  end

  @impl true
  def handle_call({:join, facts}, {pid, _tag}, roster) do
    _monitor = Process.monitor(pid)
    place = Enum.find(1..@places, &(not is_map_key(roster.places, &1)))
    :ok = :atomics.put(roster.loads, place, 0)
    {workers, quarantined} = read(roster.pool)
    ready = {workers ++ [{pid, place, facts.threads}], quarantined}
    true = :ets.insert(roster.pool, [{pid, facts}, {:idempotent, facts.idempotent}])
    :ok = publish(roster.pool, ready, roster.edition)
    Dispatcher.worker_ready(roster.pool)
    {:reply, {roster.loads, place}, put_in(roster.places[place], pid)}
  end

  def handle_call({:leave, pid}, _from, roster) do
    remove(roster, pid)
    {:reply, :ok, roster}
  end

  def handle_call({:quarantine, quarantined}, _from, %{pool: pool} = roster) do
    {workers, _count} = read(pool)
    true = :ets.match_delete(pool, {{:quarantined, :_}, :_})

    for {fingerprint, {_op, until}} <- quarantined do
      true = :ets.insert(pool, {{:quarantined, fingerprint}, until})
    end

    :ok = publish(pool, {workers, map_size(quarantined)}, roster.edition)
    {:reply, :ok, roster}
  end

  def handle_call({:remember, term}, _from, roster) do
    true = :ets.insert(roster.pool, {:remembered, term})
    {:reply, :ok, roster}
  end

  # Only now is its place free: it has been writing its load there.
  @impl true
  def handle_info({:DOWN, _monitor, :process, pid, _reason}, roster) do
    remove(roster, pid)
    :ok = Whereabouts.sweep(roster.pool)
    places = Map.reject(roster.places, fn {_place, holder} -> holder == pid end)
    {:noreply, %{roster | places: places}}
  end

  # The whole pool stops with it: what somebody sends by mistake must not end it.
  def handle_info(_other, roster), do: {:noreply, roster}

  @impl true
  def terminate(reason, %{pool: pool}) do
    _ = :persistent_term.erase({__MODULE__, pool})
    Telemetry.pool_stop(pool, reason)
  end

  defp read(pool), do: :ets.lookup_element(pool, :ready, 2)

  defp remove(%{pool: pool, edition: edition}, pid) do
    {workers, quarantined} = read(pool)
    :ok = publish(pool, {List.keydelete(workers, pid, 0), quarantined}, edition)
    true = :ets.delete(pool, pid)
  end

  # In this order: who has read the new edition's number reads what belongs to it. No two pools ever have the same number.
  defp publish(pool, ready, edition) do
    true = :ets.insert(pool, {:ready, ready})
    :atomics.put(edition, 1, System.unique_integer([:monotonic]))
  end
end
