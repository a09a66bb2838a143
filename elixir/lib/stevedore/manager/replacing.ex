defmodule Stevedore.Manager.Replacing do
  @moduledoc false
  # Planned changes (change.ex), carried out one at a time: a new worker is started as a spare, takes the slot
  # when it is ready, and when the old one has drained and is gone, the next one's turn is there. Functions on
  # the Manager's state, run in its process.

  require Logger

  alias Stevedore.{Manager, Telemetry, Worker, WorkerSupervisor}
  alias Stevedore.Manager.{Change, Circuit, Crew, Draining, Member}

  @doc "Adds a change; it begins when those before it are done."
  @spec add(Manager.t(), Change.t()) :: Manager.t()
  def add(manager, change), do: next(%{manager | changes: manager.changes ++ [change]})

  # There is nobody to replace. What was wrong with workers before is forgotten.
  defp next(%{change: nil, changes: [%Change{restart: true} = change | changes]} = manager)
       when manager.draining != nil do
    change = Change.start(change, manager.options)

    %{manager | change: change, changes: changes}
    |> Draining.call_off()
    |> Crew.set_circuit(Circuit.new(change.options))
    |> Crew.use_options(change.options)
    |> Crew.ensure_size()
  end

  defp next(%{change: nil, changes: [change | changes]} = manager) do
    pids = for {pid, _member} <- Crew.serving(manager), do: pid
    continue(%{manager | change: Change.begin(change, pids, manager.options), changes: changes})
  end

  defp next(manager), do: manager

  # The next worker that is to be replaced and is still there.
  defp continue(%{change: %Change{queue: []} = change} = manager) do
    workers = for {pid, member} <- Crew.serving(manager), do: {pid, member.options}

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
        member = Member.new(slot, options, spare: true)
        Crew.watch(spare, member, %{manager | change: change})

      _gone ->
        continue(%{manager | change: %{change | queue: queue}})
    end
  end

  defp finish(change, manager) do
    manager = if change.restart, do: Crew.use_options(manager, change.options), else: manager
    _ = change.from && GenServer.reply(change.from, Change.finish(change))
    next(%{manager | change: nil})
  end

  @doc "The pool drains: there is nothing to replace any more."
  @spec give_up(Manager.t()) :: Manager.t()
  def give_up(%{change: nil} = manager), do: manager

  def give_up(%{change: change, changes: changes} = manager) do
    manager = finish(Change.give_up(change), %{manager | changes: []})
    Enum.reduce(changes, manager, &give_up_before/2)
  end

  defp give_up_before(change, manager),
    do: change |> Change.begin([], manager.options) |> Change.give_up() |> finish(manager)

  defp all_started(%{change: %Change{starting: true} = change} = manager) do
    ready = for {_pid, %Member{state: :ready}} <- Crew.serving(manager), do: :ready
    if length(ready) >= manager.size, do: finish(change, manager), else: manager
  end

  defp all_started(manager), do: manager

  @doc "A worker is ready: if it is the spare, the old one may go."
  @spec ready(Manager.t(), pid) :: Manager.t()
  def ready(%{change: %Change{spare: spare} = change} = manager, spare) do
    manager = Crew.update(manager, spare, &%{&1 | spare: false})
    change = %{change | done: [spare | change.done], spare: nil}

    if is_map_key(manager.members, change.old) do
      Worker.retire(change.old, manager.options.drain_timeout)
      Crew.leave(%{manager | change: change}, change.old, :leaving)
    else
      continue(%{manager | change: %{change | old: nil}})
    end
  end

  def ready(manager, _pid), do: all_started(manager)

  @doc "A worker is ready, but is to go at once: if it is the spare, its slot needs no replacement any more."
  @spec not_needed(Manager.t(), pid) :: Manager.t()
  def not_needed(%{change: %Change{spare: spare} = change} = manager, spare),
    do: continue(%{manager | change: %{change | old: nil, spare: nil}})

  def not_needed(manager, _pid), do: all_started(manager)

  @doc "A worker does not serve any more, not as planned: if it was to be replaced, the spare has its slot at once."
  @spec succeed(Manager.t(), pid) :: Manager.t()
  def succeed(%{change: %Change{old: old, spare: spare} = change} = manager, old)
      when spare != nil do
    Crew.update(%{manager | change: %{change | old: nil}}, spare, &%{&1 | spare: false})
  end

  def succeed(manager, _pid), do: manager

  @doc "A worker has ended, who may have to do with a change."
  @spec ended(Manager.t(), pid, Member.t(), String.t(), details :: map) :: Manager.t()
  # The old one, as it was told to.
  def ended(%{change: %Change{old: old} = change} = manager, old, _member, _text, _details) do
    continue(%{manager | change: %{change | old: nil}})
  end

  # One of those with which the pool was to serve again.
  def ended(%{change: %Change{starting: true} = change} = manager, _pid, member, text, details)
      when member.state == :booting do
    Logger.error("a worker of #{inspect(manager.options.name)} did not start: #{text}",
      stevedore_pool: manager.options.name,
      domain: [:stevedore]
    )

    manager = Draining.begin(manager, [], manager.options.drain_timeout)
    finish(Change.fail(change, text, manager.options, details), manager)
  end

  # The new one did not get ready: all goes back.
  def ended(%{change: %Change{spare: spare} = change} = manager, spare, member, text, details) do
    Logger.error("no replacement for a worker of #{inspect(manager.options.name)}: #{text}",
      stevedore_pool: manager.options.name,
      domain: [:stevedore]
    )

    Telemetry.pool_replace_failed(manager.options.name, change.old, change.why, text)
    if change.old, do: Worker.recycle_failed(change.old)
    manager = if member.spare, do: manager, else: Crew.ensure_size(manager)
    continue(%{manager | change: Change.fail(change, text, manager.options, details)})
  end

  def ended(manager, _pid, _member, _text, _details), do: all_started(manager)
end
