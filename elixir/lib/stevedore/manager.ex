defmodule Stevedore.Manager do
  @moduledoc false
  # Keeps a pool at its size: each of its slots has a worker, or is about to get one. It is not on the way of
  # any job.
  #
  # A worker that died of a job is replaced at once: that is what the pool is for, and quarantine deals with
  # jobs that do it again. A worker that ended without having had a job is the worker program's own fault:
  # its slot waits longer each time, and after several such ends in a row, while no worker is ready, the
  # circuit is open (circuit.ex): calls are refused at once and one worker at a time is tried.
  #
  # Planned replacements (recycling, rolling restart) go through one at a time: the new worker is ready
  # before the old one drains, and gone is the old one before the next is begun.
  #
  # The first start is strict: if a worker does not get ready, the pool does not start, and the error
  # says why. Later on a worker that cannot start is tried again.

  use GenServer

  require Logger

  alias Stevedore.{
    Dispatcher,
    Error,
    Options,
    Roster,
    Telemetry,
    Ticket,
    Worker,
    WorkerSupervisor
  }

  alias Stevedore.Manager.{Change, Circuit, Inquest, Member}

  @enforce_keys [:options, :size, :inquest, :circuit]
  defstruct [
    :options,
    :size,
    :inquest,
    :circuit,
    # Starts that wait for their back-off, by slot.
    pending: %{},
    members: %{},
    deaths: %{},
    change: nil,
    changes: [],
    draining: nil
  ]

  @spec start_link(map) :: GenServer.on_start()
  def start_link(options), do: GenServer.start_link(__MODULE__, options, name: name(options.name))

  ## From workers

  @doc "The calling worker has joined the roster."
  @spec worker_ready(atom, pos_integer, Path.t()) :: :ok
  def worker_ready(pool, os_pid, black_box),
    do: tell(pool, {:worker_ready, self(), os_pid, black_box})

  @doc "A job of this worker will not stop: it serves no more, and ends when it has been replaced."
  @spec wounded(atom, pid) :: :ok
  def wounded(pool, worker), do: tell(pool, {:wounded, worker})

  @doc "The worker has served long enough and wants to be replaced."
  @spec recycle(atom, pid, atom) :: :ok
  def recycle(pool, worker, why), do: tell(pool, {:recycle, worker, why})

  @doc "The worker has settled its jobs and is about to end; `taken` is how many it has had."
  @spec worker_ended(atom, pid, atom, String.t(), non_neg_integer) :: :ok
  def worker_ended(pool, worker, cause, text, taken),
    do: tell(pool, {:worker_ended, worker, cause, text, taken})

  ## From callers

  @doc "What is known of a job that nobody has."
  @spec inquest(Ticket.t()) :: Inquest.verdict()
  def inquest(ticket) do
    GenServer.call(name(ticket.pool), {:inquest, ticket}, :infinity)
  catch
    :exit, _reason -> :unknown
  end

  @spec stats(atom) :: map
  def stats(pool), do: GenServer.call(name(pool), :stats)

  @spec restart(atom, keyword) :: :ok | {:error, Error.t()}
  def restart(pool, options), do: GenServer.call(name(pool), {:restart, options}, :infinity)

  @spec resize(atom, pos_integer) :: :ok
  def resize(pool, size), do: GenServer.call(name(pool), {:resize, size}, :infinity)

  @spec drain(atom, timeout :: non_neg_integer) :: :ok
  def drain(pool, timeout), do: GenServer.call(name(pool), {:drain, timeout}, :infinity)

  defp tell(pool, message) do
    case Process.whereis(name(pool)) do
      nil -> :ok
      manager -> send(manager, message) && :ok
    end
  end

  defp name(pool), do: Module.concat(pool, Manager)

  ## Server

  @impl true
  def init(options) do
    {options, size} = Roster.recall(options.name) || {options, options.workers}

    manager = %__MODULE__{
      options: options,
      size: size,
      inquest: Inquest.new(),
      circuit: Circuit.new(options)
    }

    # After a crash of the Manager alone there are workers already.
    manager = Enum.reduce(WorkerSupervisor.workers(options.name), manager, &adopt/2)
    manager = Enum.reduce(free_slots(manager), manager, &start_worker/2)

    case await_all(manager) do
      {:ok, manager} ->
        Telemetry.pool_start(options.name, options.workers)
        {:ok, manager}

      {:error, reason} ->
        {:stop, reason}
    end
  end

  # Their black boxes are not known any more. Those that do not serve are to go.
  defp adopt(pid, %{options: options} = manager) do
    case {Roster.facts(options.name, pid), free_slots(manager)} do
      {%{}, [slot | _]} ->
        watch(pid, %Member{slot: slot, options: options, state: :ready}, manager)

      _not_needed ->
        Worker.retire(pid, options.drain_timeout)
        manager
    end
  end

  # They boot at the same time, each within its own boot_timeout.
  defp await_all(manager) do
    if Enum.any?(manager.members, &match?({_pid, %Member{state: :booting}}, &1)) do
      receive do
        {:worker_ready, pid, os_pid, black_box} ->
          await_all(made_ready(manager, pid, os_pid, black_box))

        {:DOWN, _monitor, :process, _pid, {:shutdown, %Error{} = error}} ->
          {:error, error}

        {:DOWN, _monitor, :process, _pid, reason} ->
          {:error, reason}
      end
    else
      {:ok, manager}
    end
  end

  @impl true
  def handle_call({:inquest, ticket}, from, manager) do
    {:noreply, inquire(manager, from, ticket)}
  end

  def handle_call(:stats, _from, manager) do
    workers = Map.new(manager.members, fn {pid, member} -> {pid, Member.state(member)} end)

    {:reply,
     %{
       workers: workers,
       deaths: manager.deaths,
       circuit: manager.circuit.state,
       size: manager.size
     }, manager}
  end

  def handle_call({:restart, options}, from, manager) do
    case restart_options(options, manager) do
      {:ok, options} when manager.members == %{} ->
        manager = use_options(%{manager | size: max(1, manager.size)}, options)
        {:reply, :ok, manager |> resume() |> ensure_size()}

      {:ok, options} ->
        {:noreply,
         next_change(%{manager | changes: manager.changes ++ [Change.restart(from, options)]})}

      {:error, error} ->
        {:reply, {:error, error}, manager}
    end
  end

  def handle_call({:resize, size}, _from, manager) do
    manager = remember(resume(%{manager | size: size}))

    for {pid, member} <- serving(manager),
        member.slot > size,
        do: Worker.retire(pid, member.options.drain_timeout)

    members =
      Map.new(manager.members, fn {pid, member} ->
        {pid, Member.leave_if(member, member.slot > size)}
      end)

    {:reply, :ok, ensure_size(%{manager | members: members})}
  end

  def handle_call({:drain, timeout}, from, manager) do
    pool = manager.options.name

    Dispatcher.close(
      pool,
      {:unavailable, "the pool #{inspect(pool)} is draining, or has drained", %{}}
    )

    for {pid, _member} <- manager.members, do: Worker.retire(pid, timeout)

    members =
      Map.new(manager.members, fn {pid, member} -> {pid, Member.leave_if(member, true)} end)

    {:noreply,
     drained(%{
       manager
       | members: members,
         draining: [from | manager.draining || []],
         pending: %{}
     })}
  end

  @impl true
  def handle_info({:worker_ready, pid, os_pid, black_box}, manager) do
    {:noreply, manager |> made_ready(pid, os_pid, black_box) |> ready(pid)}
  end

  def handle_info({:wounded, pid}, manager),
    do: {:noreply, manager |> leave(pid, :wounded) |> ensure_size()}

  def handle_info({:recycle, pid, why}, manager) do
    {:noreply, next_change(%{manager | changes: manager.changes ++ [Change.recycle(pid, why)]})}
  end

  def handle_info({:worker_ended, pid, cause, text, taken}, manager) do
    manager = if cause == :drained, do: manager, else: count(manager, cause)
    {:noreply, update(manager, pid, &%{&1 | ended: {cause, text, taken}})}
  end

  def handle_info({:DOWN, _monitor, :process, pid, reason}, manager) do
    case Map.pop(manager.members, pid) do
      {nil, _members} -> {:noreply, manager}
      {member, members} -> {:noreply, ended(member, pid, reason, %{manager | members: members})}
    end
  end

  def handle_info({:start_worker, slot}, manager) do
    {:noreply, ensure_size(%{manager | pending: Map.delete(manager.pending, slot)}, slot)}
  end

  def handle_info({:inquest, from, ticket}, manager) do
    {:noreply, inquire(manager, from, ticket)}
  end

  def handle_info({:process_gone, pid}, manager) do
    {:noreply, %{manager | inquest: Inquest.open_grave(manager.inquest, pid)}}
  end

  def handle_info(_other, manager), do: {:noreply, manager}

  # A caller may have noticed a worker's end before this process has.
  @ask_again 5

  defp inquire(manager, from, ticket) do
    if Enum.all?(manager.members, fn {pid, _member} -> Process.alive?(pid) end) do
      case Inquest.verdict(manager.inquest, ticket) do
        {:ok, verdict} ->
          GenServer.reply(from, verdict)
          manager

        :later ->
          %{manager | inquest: Inquest.ask_later(manager.inquest, from, ticket)}
      end
    else
      _timer = Process.send_after(self(), {:inquest, from, ticket}, @ask_again)
      manager
    end
  end

  ## Starting

  defp start_worker(slot, manager) do
    pid = WorkerSupervisor.start_worker(manager.options)
    watch(pid, %Member{slot: slot, options: manager.options}, manager)
  end

  # In this order, or the reason of an early end would be missed.
  defp watch(pid, member, manager) do
    _monitor = Process.monitor(pid)
    Worker.boot(pid)
    %{manager | members: Map.put(manager.members, pid, member)}
  end

  # Every slot without a worker gets one now, or has a start pending. While the circuit is open only one start
  # is under way; `allowed` is the slot whose back-off is over.
  defp ensure_size(manager, allowed \\ nil)
  defp ensure_size(%{draining: draining} = manager, _allowed) when draining != nil, do: manager

  defp ensure_size(manager, allowed) do
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

  defp free_slots(manager) do
    taken = for {_pid, member} <- serving(manager), do: member.slot
    Enum.to_list(1..manager.size//1) -- (taken ++ Map.keys(manager.pending))
  end

  defp serving(manager),
    do: Enum.filter(manager.members, fn {_pid, member} -> Member.serving?(member) end)

  defp made_ready(manager, pid, os_pid, black_box) do
    inquest = Inquest.enter(manager.inquest, pid, os_pid, black_box)
    update(%{manager | inquest: inquest}, pid, &%{&1 | state: :ready})
  end

  defp ready(manager, pid) do
    for {other, %Member{state: :wounded}} <- manager.members, do: Worker.replaced(other)
    manager = set_circuit(manager, Circuit.close(manager.circuit))

    case manager.members do
      %{^pid => %Member{slot: slot}} when slot > manager.size or manager.draining != nil ->
        Worker.retire(pid, manager.options.drain_timeout)
        leave(manager, pid, :leaving)

      _needed ->
        manager |> change_ready(pid) |> ensure_size()
    end
  end

  defp leave(manager, pid, state), do: update(manager, pid, &%{&1 | state: state})

  defp update(manager, pid, change) do
    case manager.members do
      %{^pid => member} -> put_in(manager.members[pid], change.(member))
      _gone -> manager
    end
  end

  ## Ends

  defp ended(member, pid, reason, manager) do
    {cause, text, taken} = member.ended || end_without_a_word(reason)
    planned? = cause == :drained or member.state == :leaving
    manager = if cause == :worker_process, do: bury(manager, pid), else: forget(manager, pid)
    manager = if member.ended, do: manager, else: count(manager, cause)

    manager =
      cond do
        member.spare -> manager
        # The wounded one's slot has been filled long since.
        planned? or member.state == :wounded -> ensure_size(manager)
        cause == :boot or taken == 0 -> back_off(manager, member.slot, cause, text)
        true -> start_again(manager, member.slot, cause, text)
      end

    manager |> change_ended(pid, member, text) |> drained()
  end

  defp end_without_a_word({:shutdown, %Error{message: message}}), do: {:boot, message, 0}
  # It was killed with all it knew; that it was of no use cannot be said.
  defp end_without_a_word(reason),
    do: {:worker_process, "its process in the VM ended: #{inspect(reason)}", 1}

  # Those who wait for it, or for a job that has moved to it, are to look.
  defp bury(manager, pid) do
    :ok = Roster.note_kill(manager.options.name)
    %{manager | inquest: Inquest.bury(manager.inquest, pid)}
  end

  defp forget(manager, pid), do: %{manager | inquest: Inquest.leave(manager.inquest, pid)}

  defp count(manager, cause),
    do: %{manager | deaths: Map.update(manager.deaths, cause, 1, &(&1 + 1))}

  defp start_again(manager, slot, cause, text) do
    tell_restart(manager, 0, cause, text)
    ensure_size(%{manager | circuit: Circuit.died_of_a_job(manager.circuit, slot)})
  end

  defp back_off(%{draining: draining} = manager, _slot, _cause, _text) when draining != nil,
    do: manager

  defp back_off(manager, slot, cause, text) do
    ready? = Enum.any?(manager.members, fn {_pid, member} -> member.state == :ready end)
    now = System.monotonic_time(:millisecond)
    {delay, circuit} = Circuit.ended_idle(manager.circuit, slot, ready?, now)
    tell_restart(manager, delay, cause, text)
    if circuit.state == :open, do: refuse_calls(manager.options.name, delay, text)

    # An own message even if there is no delay, so that callers are not kept waiting by a storm.
    timer = Process.send_after(self(), {:start_worker, slot}, delay)
    set_circuit(%{manager | pending: Map.put(manager.pending, slot, timer)}, circuit)
  end

  defp refuse_calls(pool, delay, text) do
    message =
      "no worker of #{inspect(pool)} can be kept running (#{text}); the next is tried in #{delay} ms"

    details = %{"retry_after_ms" => delay, "circuit" => "open"}
    Dispatcher.close(pool, {:unavailable, message, details})
  end

  defp set_circuit(%{circuit: before} = manager, circuit) do
    pool = manager.options.name

    if before.state != circuit.state,
      do: Telemetry.pool_circuit(pool, before.state, circuit.state)

    if before.state == :open and circuit.state == :closed and manager.draining == nil,
      do: Dispatcher.open(pool)

    %{manager | circuit: circuit}
  end

  defp tell_restart(manager, delay, cause, text) do
    pool = manager.options.name
    Telemetry.pool_restart(pool, delay, cause)

    Logger.warning(
      "a worker of #{inspect(pool)} ended (#{text}); starting another " <>
        if(delay == 0, do: "at once", else: "in #{delay} ms"),
      stevedore_pool: pool,
      domain: [:stevedore]
    )
  end

  ## Planned changes, one at a time

  defp restart_options(options, manager) do
    {:ok, Options.restart!(options, manager.options)}
  rescue
    error in ArgumentError ->
      {:error,
       %Error{kind: :bad_args, message: Exception.message(error), pool: manager.options.name}}
  end

  defp next_change(%{change: nil, changes: [change | changes]} = manager) do
    pids = for {pid, _member} <- serving(manager), do: pid
    continue(%{manager | change: Change.begin(change, pids, manager.options), changes: changes})
  end

  defp next_change(manager), do: manager

  # The next worker that is to be replaced and is still there.
  defp continue(%{change: %Change{queue: []} = change} = manager) do
    workers = for {pid, member} <- serving(manager), do: {pid, member.options}

    case Change.catch_up(change, workers) do
      %Change{queue: []} -> finish(change, manager)
      change -> continue(%{manager | change: change})
    end
  end

  defp continue(%{change: %Change{queue: [old | queue]} = change} = manager) do
    case manager.members do
      %{^old => %Member{state: state, slot: slot}} when state in [:ready, :booting] ->
        options = change.options
        spare = WorkerSupervisor.start_worker(options)
        Telemetry.pool_replace(options.name, old, change.why)
        change = %{change | queue: queue, old: old, spare: spare}
        member = %Member{slot: slot, options: options, spare: true}
        watch(spare, member, %{manager | change: change})

      _gone ->
        continue(%{manager | change: %{change | queue: queue}})
    end
  end

  defp finish(change, manager) do
    manager = if change.restart, do: use_options(manager, change.options), else: manager
    _ = change.from && GenServer.reply(change.from, Change.finish(change))
    next_change(%{manager | change: nil})
  end

  defp use_options(manager, options) do
    Dispatcher.use_options(options.name, options)
    remember(%{manager | options: options})
  end

  # For the next Manager, if this one crashes.
  defp remember(manager) do
    :ok = Roster.remember(manager.options.name, {manager.options, manager.size})
    manager
  end

  defp change_ready(%{change: %Change{spare: spare} = change} = manager, spare) do
    manager = update(manager, spare, &%{&1 | spare: false})
    change = %{change | done: [spare | change.done], spare: nil}

    if is_map_key(manager.members, change.old) do
      Worker.retire(change.old, manager.options.drain_timeout)
      leave(%{manager | change: change}, change.old, :leaving)
    else
      continue(%{manager | change: %{change | old: nil}})
    end
  end

  defp change_ready(manager, _pid), do: manager

  # The old one has ended: by itself, in which case the spare has its slot at once, or as it was told to.
  defp change_ended(
         %{change: %Change{old: old, spare: spare} = change} = manager,
         old,
         _member,
         _text
       ) do
    if spare,
      do: update(%{manager | change: %{change | old: nil}}, spare, &%{&1 | spare: false}),
      else: continue(%{manager | change: %{change | old: nil}})
  end

  # The new one did not get ready: all goes back.
  defp change_ended(%{change: %Change{spare: spare} = change} = manager, spare, member, text) do
    Logger.error("no replacement for a worker of #{inspect(manager.options.name)}: #{text}",
      stevedore_pool: manager.options.name,
      domain: [:stevedore]
    )

    if change.old, do: Worker.recycle_failed(change.old)
    manager = if member.spare, do: manager, else: ensure_size(manager)
    continue(%{manager | change: Change.fail(change, text, manager.options)})
  end

  defp change_ended(manager, _pid, _member, _text), do: manager

  ## Draining

  defp drained(%{draining: [_ | _] = callers, members: members} = manager) when members == %{} do
    Enum.each(callers, &GenServer.reply(&1, :ok))
    %{manager | draining: []}
  end

  defp drained(manager), do: manager

  defp resume(%{draining: nil} = manager), do: manager

  defp resume(manager) do
    Dispatcher.open(manager.options.name)
    %{manager | draining: nil}
  end

  @impl true
  def terminate(_reason, manager), do: Inquest.close(manager.inquest)
end
