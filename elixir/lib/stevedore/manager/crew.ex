defmodule Stevedore.Manager.Crew do
  @moduledoc false
  # The workers of a pool as the Manager has them: who fills which slot, and that none stays empty. Functions
  # on the Manager's state, run in its process.

  alias Stevedore.{Dispatcher, Manager, Roster, Telemetry, Worker, WorkerSupervisor}
  alias Stevedore.Manager.{Circuit, Member, Obituaries}

  @doc "Starts a worker for a slot."
  @spec start_worker(pos_integer, Manager.t()) :: Manager.t()
  def start_worker(slot, manager) do
    manager = set_circuit(manager, Circuit.probe(manager.circuit))
    pid = WorkerSupervisor.start_worker(manager.options)
    watch(pid, Member.new(slot, manager.options), manager)
  end

  @doc "Changes the circuit, and tells of it."
  @spec set_circuit(Manager.t(), Circuit.t()) :: Manager.t()
  def set_circuit(%{circuit: %{state: state}} = manager, %{state: state} = circuit),
    do: %{manager | circuit: circuit}

  def set_circuit(%{circuit: before} = manager, circuit) do
    pool = manager.options.name
    Telemetry.pool_circuit(pool, before.state, circuit.state)
    if circuit.state == :closed and manager.draining == nil, do: Dispatcher.open(pool)
    %{manager | circuit: circuit}
  end

  @doc "Takes a worker in, and makes it boot: in this order, or the reason of an early end would be missed."
  @spec watch(pid, Member.t(), Manager.t()) :: Manager.t()
  def watch(pid, member, manager) do
    _monitor = Process.monitor(pid)
    Worker.boot(pid)
    %{manager | members: Map.put(manager.members, pid, member)}
  end

  @doc """
  Every slot without a worker gets one now, or has a start pending. Unless the circuit is closed only one start
  is under way; `allowed` is the slot whose back-off is over.
  """
  @spec ensure_size(Manager.t(), pos_integer | nil) :: Manager.t()
  def ensure_size(manager, allowed \\ nil)
  def ensure_size(%{draining: draining} = manager, _allowed) when draining != nil, do: manager

  def ensure_size(manager, allowed) do
    slots = free_slots(manager)
    slots = if manager.circuit.state == :closed, do: slots, else: probe(slots, allowed, manager)
    Enum.reduce(slots, manager, &start_worker/2)
  end

  defp probe(slots, allowed, manager) do
    under_way? =
      map_size(manager.pending) > 0 or
        Enum.any?(manager.members, fn {_, m} -> m.state == :booting end)

    cond do
      under_way? or slots == [] -> []
      allowed in slots -> [allowed]
      true -> [hd(slots)]
    end
  end

  @doc "The slots that have no worker, and no start pending."
  @spec free_slots(Manager.t()) :: [pos_integer]
  def free_slots(manager) do
    taken = for {_pid, member} <- serving(manager), do: member.slot
    Enum.to_list(1..manager.size//1) -- (taken ++ Map.keys(manager.pending))
  end

  @doc """
  Whether a worker that is ready has a slot to fill: the pool may have become smaller meanwhile, and larger again, or it
  was to succeed one whose slot has been filled otherwise.
  """
  @spec needed?(Manager.t(), pid) :: boolean
  def needed?(%{change: change} = manager, pid) do
    predecessor = if change && change.spare == pid, do: change.old
    others = for {other, _} = one <- serving(manager), other not in [pid, predecessor], do: one

    case manager.members do
      %{^pid => %Member{slot: slot}} ->
        slot <= manager.size and Enum.all?(others, fn {_pid, member} -> member.slot != slot end)

      _gone ->
        false
    end
  end

  @doc "Those that fill a slot."
  @spec serving(Manager.t()) :: [{pid, Member.t()}]
  def serving(manager),
    do: Enum.filter(manager.members, fn {_pid, member} -> Member.serving?(member) end)

  @doc "The worker does not fill its slot any more."
  @spec leave(Manager.t(), pid, :leaving | :wounded) :: Manager.t()
  def leave(manager, pid, state), do: update(manager, pid, &%{&1 | state: state})

  @doc "Changes what is known of a worker, if it is still there."
  @spec update(Manager.t(), pid, (Member.t() -> Member.t())) :: Manager.t()
  def update(manager, pid, change) do
    case manager.members do
      %{^pid => member} -> put_in(manager.members[pid], change.(member))
      _gone -> manager
    end
  end

  @doc "Workers are started with these options from now on."
  @spec use_options(Manager.t(), map) :: Manager.t()
  def use_options(manager, options) do
    Dispatcher.use_options(options.name, options)
    remember(%{manager | options: options})
  end

  @doc "Keeps options, size, the deaths and whether it drains for the next Manager, if this one crashes."
  @spec remember(Manager.t()) :: Manager.t()
  def remember(manager) do
    # Who waits for it does not wait any more then.
    draining = manager.draining && []
    kept = manager |> Map.take([:options, :size, :obituaries]) |> Map.put(:draining, draining)
    :ok = Roster.remember(manager.options.name, kept)
    manager
  end

  @doc "What the Manager before this one kept; for the first one what it is to begin with."
  @spec recall(map) :: map
  def recall(options) do
    with nil <- Roster.recall(options.name) do
      %{options: options, size: options.workers, obituaries: %Obituaries{}, draining: nil}
    end
  end
end
