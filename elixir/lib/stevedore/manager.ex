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

  alias Stevedore.{
    Dispatcher,
    Error,
    Options,
    Pool,
    Roster,
    Telemetry,
    Ticket,
    Worker,
    WorkerSupervisor
  }

  alias Stevedore.Manager.{
    Change,
    Circuit,
    Crew,
    Draining,
    Ends,
    Inquest,
    Member,
    Replacing
  }

  @enforce_keys [:options, :size, :inquest, :circuit, :obituaries]
  defstruct [
    :options,
    :size,
    :inquest,
    :circuit,
    :obituaries,
    # Starts that wait for their back-off, by slot.
    pending: %{},
    members: %{},
    change: nil,
    changes: [],
    draining: nil,
    # While it drains: whether a suspect may still run in a worker of its own.
    alone: false
  ]

  @type t :: %__MODULE__{}

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

  @doc "The calling worker's process is dead, and it is about to settle its jobs and to end."
  @spec worker_ended(atom, Member.ending()) :: :ok
  def worker_ended(pool, ending), do: tell(pool, {:worker_ended, self(), ending})

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

  @doc "The same; `nil` if it does not answer within that many ms, or is not there."
  @spec stats(atom, timeout :: non_neg_integer) :: map | nil
  def stats(pool, timeout) do
    GenServer.call(name(pool), :stats, timeout)
  catch
    :exit, _reason -> nil
  end

  @spec restart(atom, keyword) :: :ok | {:error, Error.t()}
  def restart(pool, options), do: Pool.ask(pool, &name/1, {:restart, options})

  @spec resize(atom, pos_integer) :: :ok | {:error, Error.t()}
  def resize(pool, size), do: Pool.ask(pool, &name/1, {:resize, size})

  @spec drain(atom, timeout :: non_neg_integer) :: :ok | {:error, Error.t()}
  def drain(pool, timeout), do: Pool.ask(pool, &name/1, {:drain, timeout})

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
    %{options: options} = kept = Crew.recall(options)
    own = %{inquest: Inquest.new(), circuit: Circuit.new(options)}
    manager = struct!(__MODULE__, Map.merge(kept, own))

    # After a crash of the Manager alone there are workers already.
    manager = Enum.reduce(WorkerSupervisor.workers(options.name), manager, &adopt/2)
    manager = %{manager | inquest: Inquest.begin(manager.inquest)}

    case manager |> go_on() |> await_all() do
      {:ok, manager} ->
        Telemetry.pool_start(options.name, options.workers)
        {:ok, manager}

      {:error, reason} ->
        {:stop, reason}
    end
  end

  # Those that do not serve are to go.
  defp adopt(pid, %{options: options} = manager) do
    case {Roster.facts(options.name, pid), Crew.free_slots(manager)} do
      {%{os_pid: os_pid}, [slot | _]} ->
        manager = %{manager | inquest: Inquest.adopt(manager.inquest, pid, os_pid)}
        # That it has asked to be replaced is forgotten.
        Worker.recycle_failed(pid)
        Crew.watch(pid, Member.new(slot, options, state: :ready), manager)

      {_not_needed, slots} ->
        Worker.retire(pid, options.drain_timeout)
        slot = List.first(slots, 1)
        Crew.watch(pid, Member.new(slot, options, state: :leaving), manager)
    end
  end

  # As the one before it would have. The circuit is closed.
  defp go_on(%{draining: nil} = manager) do
    :ok = Dispatcher.open(manager.options.name)
    Enum.reduce(Crew.free_slots(manager), manager, &Crew.start_worker/2)
  end

  defp go_on(manager), do: Draining.begin(manager, [], manager.options.drain_timeout)

  # They boot at the same time, each within its own boot_timeout. What becomes of others meanwhile can wait.
  defp await_all(manager) do
    booting = Map.filter(manager.members, &match?({_pid, %Member{state: :booting}}, &1))
    if booting == %{}, do: {:ok, manager}, else: await_next(manager, booting)
  end

  defp await_next(manager, booting) do
    receive do
      {:worker_ready, pid, os_pid, black_box} when is_map_key(booting, pid) ->
        await_all(made_ready(manager, pid, os_pid, black_box))

      {:DOWN, _monitor, :process, pid, {:shutdown, %Error{} = error}}
      when is_map_key(booting, pid) ->
        {:error, error}

      {:DOWN, _monitor, :process, pid, reason} when is_map_key(booting, pid) ->
        {:error, reason}
    end
  end

  @impl true
  def handle_call({:inquest, ticket}, from, manager) do
    {:noreply, inquire(manager, from, ticket)}
  end

  def handle_call(:stats, _from, manager) do
    workers =
      for {pid, member} <- manager.members do
        os_pid = Inquest.os_pid(manager.inquest, pid)
        %{pid: pid, slot: member.slot, state: Member.state(member), os_pid: os_pid}
      end

    {:reply,
     %{
       workers: Enum.sort_by(workers, &{&1.slot, &1.pid}),
       deaths: manager.obituaries.counts,
       recent_deaths: manager.obituaries.recent,
       circuit: manager.circuit.state,
       draining: manager.draining != nil,
       size: manager.size
     }, manager}
  end

  def handle_call({:restart, options}, from, manager) do
    case restart_options(options, manager) do
      {:ok, options} ->
        {:noreply, Replacing.add(manager, Change.restart(from, options))}

      {:error, error} ->
        {:reply, {:error, error}, manager}
    end
  end

  def handle_call({:resize, size}, _from, manager) do
    Telemetry.pool_resize(manager.options.name, size)
    manager = Crew.remember(Draining.call_off(%{manager | size: size}))

    for {pid, member} <- Crew.serving(manager),
        member.slot > size,
        do: Worker.retire(pid, member.options.drain_timeout)

    members =
      Map.new(manager.members, fn {pid, member} ->
        {pid, Member.leave_if(member, member.slot > size)}
      end)

    {:reply, :ok, Crew.ensure_size(%{manager | members: members})}
  end

  def handle_call({:drain, timeout}, from, manager),
    do: {:noreply, manager |> Draining.begin([from], timeout) |> Replacing.give_up()}

  @impl true
  def handle_info({:worker_ready, pid, os_pid, black_box}, manager) do
    {:noreply, manager |> made_ready(pid, os_pid, black_box) |> ready(pid)}
  end

  def handle_info({:wounded, pid}, manager) do
    manager = manager |> Crew.leave(pid, :wounded) |> Replacing.succeed(pid)
    {:noreply, Crew.ensure_size(manager)}
  end

  def handle_info({:recycle, pid, why}, manager) do
    {:noreply, Replacing.add(manager, Change.recycle(pid, why))}
  end

  def handle_info({:worker_ended, pid, ending}, manager) do
    manager = Crew.update(manager, pid, &%{&1 | ended: ending})
    manager = %{manager | inquest: Inquest.remember(manager.inquest, ending.started)}
    {:noreply, Ends.note_death(manager, pid, ending)}
  end

  def handle_info({:DOWN, _monitor, :process, pid, reason}, manager) do
    case Map.pop(manager.members, pid) do
      {nil, _members} -> {:noreply, manager}
      {member, members} -> {:noreply, ended(%{manager | members: members}, member, pid, reason)}
    end
  end

  def handle_info({:start_worker, slot}, manager) do
    {:noreply, Crew.ensure_size(%{manager | pending: Map.delete(manager.pending, slot)}, slot)}
  end

  def handle_info(:nobody_alone, manager),
    do: {:noreply, Draining.done(%{manager | alone: false})}

  def handle_info({:inquest, from, ticket}, manager) do
    {:noreply, inquire(manager, from, ticket)}
  end

  def handle_info({:process_gone, pid}, manager) do
    {:noreply, %{manager | inquest: Inquest.open_grave(manager.inquest, pid)}}
  end

  def handle_info(_other, manager), do: {:noreply, manager}

  defp ended(manager, member, pid, reason),
    do: manager |> Ends.ended(member, pid, reason) |> Draining.done()

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

  ## Ready

  defp made_ready(manager, pid, os_pid, black_box) do
    inquest = Inquest.enter(manager.inquest, pid, os_pid, black_box)
    Crew.update(%{manager | inquest: inquest}, pid, &%{&1 | state: :ready})
  end

  defp ready(manager, pid) do
    for {other, %Member{state: :wounded}} <- manager.members, do: Worker.replaced(other)
    manager = Crew.set_circuit(manager, Circuit.close(manager.circuit))

    if manager.draining == nil and Crew.needed?(manager, pid) do
      manager |> Replacing.ready(pid) |> Crew.ensure_size()
    else
      Worker.retire(pid, manager.options.drain_timeout)
      manager |> Crew.leave(pid, :leaving) |> Replacing.not_needed(pid)
    end
  end

  defp restart_options(options, manager) do
    {:ok, Options.restart!(options, manager.options)}
  rescue
    error in ArgumentError ->
      {:error,
       %Error{kind: :bad_args, message: Exception.message(error), pool: manager.options.name}}
  end

  @impl true
  def terminate(_reason, manager), do: Inquest.close(manager.inquest)
end
