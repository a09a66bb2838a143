defmodule Stevedore.Dispatcher do
  @moduledoc false
  # Has the jobs that are with no worker, for as long as they are: those that came when none was ready, and
  # the suspects, which are run again one at a time, each in a worker of its own. And it keeps the
  # quarantine. Not on the way of any other job.
  #
  # A held job ends here if its `queue_timeout` passes, if the pool's circuit opens, or with the pool.

  use GenServer

  require Logger

  alias Stevedore.{
    Dispatch,
    Error,
    Pool,
    Quarantine,
    Roster,
    Search,
    Tally,
    Telemetry,
    Ticket,
    Whereabouts,
    Worker,
    WorkerSupervisor
  }

  # ms until a job is looked for again that is on its way here.
  @find_after 5

  @enforce_keys [:options, :quarantine]
  defstruct [
    :options,
    :quarantine,
    :closed,
    # Who wants to know when none runs alone any more, while the pool drains.
    :draining,
    # The suspect that runs alone: {monitor, worker, ticket}.
    :alone,
    # Those that came when no worker was ready, with their number in the order in which they came: by id and ref.
    held: %{},
    suspects: :queue.new()
  ]

  @spec start_link(map) :: GenServer.on_start()
  def start_link(options), do: GenServer.start_link(__MODULE__, options, name: name(options.name))

  @spec whereis(atom) :: pid | nil
  def whereis(pool), do: Process.whereis(name(pool))

  @doc "Gives it a job for which there is no worker."
  @spec hold(Ticket.t()) :: {:ok, pid} | {:error, Dispatch.refusal()}
  def hold(ticket) do
    case whereis(ticket.pool) do
      nil ->
        {:error, {:unavailable, "the pool #{inspect(ticket.pool)} is stopping", %{}}}

      pid ->
        :ok = Ticket.give(ticket, pid)
        {:ok, pid}
    end
  end

  @doc "Gives it a job that may have killed its worker, to be run again alone."
  @spec isolate(atom, Ticket.t()) :: :ok
  def isolate(pool, ticket) do
    case whereis(pool) do
      nil ->
        Ticket.settle(ticket, %Error{
          kind: :lost,
          message: "its worker died, and the pool is stopping"
        })

      pid ->
        ticket = Ticket.move(ticket, System.monotonic_time())
        :ok = Whereabouts.note(ticket, pid)
        tell(pid, {:isolate, ticket})
    end
  end

  @doc """
  Notes that a job was the cause of its worker's end. When this returns, and it was one death too many, the
  job is quarantined.
  """
  @spec note_death(atom, Ticket.t()) :: :ok
  def note_death(pool, ticket) do
    GenServer.call(name(pool), {:note_death, Ticket.fingerprint(ticket), ticket.op})
  catch
    :exit, _reason -> :ok
  end

  @doc "A worker has joined the roster."
  @spec worker_ready(atom) :: :ok
  def worker_ready(pool), do: tell(whereis(pool), :worker_ready)

  @doc "No worker will be ready soon: refuses what is held, and what comes, until `open/1`."
  @spec close(atom, Dispatch.refusal()) :: :ok
  def close(pool, refusal), do: tell(whereis(pool), {:close, refusal})

  @doc """
  The same for a pool that drains: suspects are not tried any more, and the one that runs alone may finish within
  `grace` ms. The calling process is sent `:nobody_alone` when none runs.
  """
  @spec drain(atom, Dispatch.refusal(), non_neg_integer) :: :ok
  def drain(pool, refusal, grace), do: tell(whereis(pool), {:drain, refusal, grace, self()})

  @doc "Takes back `close/2` and `drain/3`: what comes is held, and tried."
  @spec open(atom) :: :ok
  def open(pool), do: tell(whereis(pool), :open)

  @doc "With what options workers are started from now on."
  @spec use_options(atom, map) :: :ok
  def use_options(pool, options), do: tell(whereis(pool), {:options, options})

  @doc "What it has: for Stevedore.stats/1."
  @spec stats(atom) :: map
  def stats(pool), do: GenServer.call(name(pool), :stats)

  @doc "Lifts the quarantine of one job, or of all."
  @spec release(atom, binary | :all) :: :ok | {:error, Error.t()}
  def release(pool, which), do: Pool.ask(pool, &name/1, {:release, which})

  defp tell(nil, _message), do: :ok

  defp tell(pid, message) do
    send(pid, message)
    :ok
  end

  defp name(pool), do: Module.concat(pool, Dispatcher)

  ## Server

  @impl true
  def init(options) do
    # So that terminate/2 runs.
    Process.flag(:trap_exit, true)
    :ok = Roster.quarantine(options.name, %{})
    {:ok, %__MODULE__{options: options, quarantine: Quarantine.new(options.quarantine)}}
  end

  @impl true
  def handle_call(:stats, _from, state) do
    quarantined =
      for {fingerprint, {op, until}} <- state.quarantine.quarantined do
        %{fingerprint: fingerprint, op: op, for_ms: max(0, until - now_ms())}
      end

    waiting = map_size(state.held) + :queue.len(state.suspects)
    {:reply, %{waiting: waiting, quarantined: quarantined}, state}
  end

  def handle_call({:release, which}, _from, state) do
    {:reply, :ok, lift(state, Quarantine.release(state.quarantine, which), :released)}
  end

  def handle_call({:note_death, fingerprint, op}, _from, state) do
    {what, quarantine} = Quarantine.note(state.quarantine, fingerprint, op, now_ms())
    state = %{state | quarantine: quarantine}
    {:reply, :ok, if(what == :quarantined, do: quarantined(state, fingerprint, op), else: state)}
  end

  @impl true
  def handle_info({:stevedore_call, ticket}, state) do
    case Roster.lookup(state.options.name) do
      {:ok, {[_ | _], _quarantined}, _settings} ->
        :ok = Dispatch.move([ticket], :held)
        {:noreply, state}

      _none ->
        {:noreply, hold(ticket, state)}
    end
  end

  def handle_info(:worker_ready, state) do
    {tickets, orphans} = Enum.split_with(held(state), &wanted?/1)
    Enum.each(orphans, &drop_orphan/1)
    tickets |> Enum.sort_by(&priority/1) |> Dispatch.move(:held)
    {:noreply, %{state | held: %{}}}
  end

  def handle_info({:close, refusal}, state), do: {:noreply, close_to_all(refusal, state)}

  def handle_info({:drain, refusal, grace, manager}, state) do
    _ = with {_monitor, pid, _ticket} <- state.alone, do: Worker.retire(pid, grace)
    {:noreply, next_suspect(%{close_to_all(refusal, state) | draining: manager})}
  end

  def handle_info(:open, state),
    do: {:noreply, next_suspect(%{state | closed: nil, draining: nil})}

  def handle_info({:options, options}, state), do: {:noreply, %{state | options: options}}

  def handle_info({:queue_timeout, id, ref}, state) do
    case find(state, id, ref) do
      nil ->
        {:noreply, state}

      ticket ->
        refuse_all(
          [ticket],
          {:queue_timeout, "no worker was ready within its queue_timeout",
           %{"clock" => "queue_timeout"}}
        )

        {:noreply, drop(state, ticket)}
    end
  end

  def handle_info({what, id, ref}, state) when what in [:stevedore_cancel, :stevedore_abandon] do
    case {find(state, id, ref), state.alone} do
      {%Ticket{} = ticket, _alone} ->
        refuse_all([ticket], {:cancelled, "cancelled before it ran", %{}})
        {:noreply, drop(state, ticket)}

      {nil, {_monitor, pid, %Ticket{id: ^id, ref: ^ref}}} ->
        send(pid, {what, id, ref})
        {:noreply, state}

      _none ->
        :ok = Search.pass_on(state.options.name, {what, id, ref}, &find_later/1)
        {:noreply, state}
    end
  end

  def handle_info({:stevedore_confirm, id, ref, mover}, state) do
    case {find(state, id, ref), state.alone} do
      {%Ticket{} = ticket, _alone} ->
        :ok = Search.confirm({:ok, ticket}, ticket.pool, ref, mover)

      # It is for that worker to say where the job is.
      {nil, {_monitor, _pid, %Ticket{id: ^id, ref: ^ref}}} ->
        :ok

      _none ->
        :ok = Search.confirm(:error, state.options.name, ref, mover)
    end

    {:noreply, state}
  end

  # The process of its worker keeps no limits: it would be in the way of all other suspects.
  def handle_info(
        {:stevedore_overdue, id, _limit} = message,
        %{alone: {_monitor, pid, %Ticket{id: id}}} = state
      ) do
    send(pid, message)
    {:noreply, state}
  end

  def handle_info(:expire, state) do
    {:noreply, lift(state, Quarantine.expire(state.quarantine, now_ms()), :expired)}
  end

  def handle_info({:isolate, ticket}, state) do
    {:noreply, next_suspect(%{state | suspects: :queue.in(ticket, state.suspects)})}
  end

  def handle_info(
        {:DOWN, monitor, :process, _pid, reason},
        %{alone: {monitor, _worker, ticket}} = state
      ) do
    # It settles its job itself or hands it on, unless it never got so far, or was killed.
    case reason do
      {:shutdown, :done} -> :ok
      {:shutdown, {what, _why}} when what in [:died, :planned] -> :ok
      {:shutdown, %Error{message: message}} -> settle_tried(ticket, message, state)
      reason -> settle_tried(ticket, "its worker ended: #{inspect(reason)}", state)
    end

    {:noreply, next_suspect(%{state | alone: nil})}
  end

  def handle_info(_other, state), do: {:noreply, state}

  @impl true
  def terminate(_reason, state) do
    refuse_all(
      held(state),
      {:unavailable, "the pool #{inspect(state.options.name)} is stopping", %{}}
    )

    _state = settle_suspects("the pool is stopping", state)
    :ok
  end

  ## Held jobs

  defp hold(ticket, %{closed: nil} = state) do
    if map_size(state.held) < state.options.max_queue do
      expire_later(ticket)
      number = System.unique_integer([:monotonic])
      put_in(state.held[{ticket.id, ticket.ref}], {number, ticket})
    else
      limit = state.options.max_queue
      message = "#{limit} jobs wait for a worker already: try again later, or raise :max_queue"
      refuse_all([ticket], {:overloaded, message, %{"what" => "jobs", "limit" => limit}})
      state
    end
  end

  defp hold(ticket, state) do
    refuse_all([ticket], state.closed)
    state
  end

  defp close_to_all(refusal, state) do
    refuse_all(held(state), refusal)
    %{state | held: %{}, closed: refusal}
  end

  # The first that came first.
  defp held(state) do
    for {_number, ticket} <- state.held |> Map.values() |> List.keysort(0), do: ticket
  end

  # Their callers are not monitored here: whether somebody waits for it still is looked at when a job would run.
  defp wanted?(%Ticket{owner: caller}), do: node(caller) != node() or Process.alive?(caller)

  defp drop_orphan(%Ticket{pool: pool} = ticket) do
    error = %Error{kind: :cancelled, message: "its caller died", op: ticket.op, pool: pool}
    :ok = Tally.count_error(Roster.tally(pool), error.kind)
    Telemetry.job_exception(ticket, error)
    Ticket.forget(ticket)
  end

  defp expire_later(%Ticket{start_by: :infinity}), do: :ok

  defp expire_later(%Ticket{start_by: start_by, id: id, ref: ref}) do
    at = System.convert_time_unit(start_by, :native, :millisecond) + 1
    _timer = Process.send_after(self(), {:queue_timeout, id, ref}, at, abs: true)
    :ok
  end

  defp refuse_all(tickets, refusal) do
    now = System.monotonic_time()
    Enum.each(tickets, &Dispatch.refuse(&1, refusal, now))
  end

  # It is on its way here.
  defp find_later(message), do: Process.send_after(self(), message, @find_after)

  defp find(state, id, ref) do
    case state.held do
      %{{^id, ^ref} => {_number, ticket}} -> ticket
      _not_held -> Enum.find(:queue.to_list(state.suspects), &(&1.id == id and &1.ref == ref))
    end
  end

  # Of suspects there are never many.
  defp drop(state, ticket) do
    case Map.pop(state.held, {ticket.id, ticket.ref}) do
      {nil, _held} -> %{state | suspects: :queue.delete(ticket, state.suspects)}
      {_held, held} -> %{state | held: held}
    end
  end

  # It is in the options as they go to the worker (PROTOCOL §4.1).
  defp priority(%Ticket{options: options}) do
    case :binary.split(options, "priority") do
      [_before, <<97, priority, _::binary>>] -> priority
      [_none] -> 5
    end
  end

  ## Suspects

  defp next_suspect(%{draining: manager, alone: alone} = state) when manager != nil do
    _ = if alone == nil, do: send(manager, :nobody_alone)
    settle_suspects("the pool drains", state)
  end

  defp next_suspect(%{alone: nil} = state) do
    case :queue.out(state.suspects) do
      {{:value, ticket}, suspects} ->
        try_alone(ticket, %{state | suspects: suspects}, System.monotonic_time())

      {:empty, _suspects} ->
        state
    end
  end

  defp next_suspect(state), do: state

  defp try_alone(ticket, state, now) do
    cond do
      not wanted?(ticket) ->
        drop_orphan(ticket)
        next_suspect(state)

      Ticket.expired?(ticket, now) ->
        Ticket.settle(ticket, not_tried("others were tried before it, and its time is over"))
        next_suspect(state)

      true ->
        start_alone(ticket, state)
    end
  end

  defp start_alone(ticket, state) do
    pid = WorkerSupervisor.start_worker(%{state.options | threads: 1}, ticket)
    monitor = Process.monitor(pid)
    Worker.boot(pid)
    Telemetry.job_moved(ticket, :isolated)
    %{state | alone: {monitor, pid, ticket}}
  end

  # It may have come back, as a job that is held.
  defp settle_tried(%Ticket{id: id, ref: ref} = ticket, why, state) do
    here? = Whereabouts.holder(ticket.pool, ref) == self()

    if here? and find(state, id, ref) == nil,
      do: Ticket.settle(ticket, not_tried(why)),
      else: :ok
  end

  defp settle_suspects(why, state) do
    for ticket <- :queue.to_list(state.suspects), do: Ticket.settle(ticket, not_tried(why))
    %{state | suspects: :queue.new()}
  end

  defp not_tried(why) do
    %Error{
      kind: :lost,
      message: "it ran when its worker died, and was not run again to its end: #{why}",
      details: %{"state" => "running"}
    }
  end

  ## Quarantine

  defp quarantined(state, fingerprint, op) do
    pool = state.options.name
    Telemetry.pool_quarantine(pool, op, fingerprint, state.quarantine.for)

    Logger.warning(
      "an op of #{inspect(pool)} (#{op}) is quarantined for #{state.quarantine.for} ms: with the same " <>
        "arguments it has caused #{state.quarantine.deaths} deaths of workers",
      stevedore_pool: pool,
      domain: [:stevedore]
    )

    publish(state)
  end

  defp lift(state, quarantine, why) do
    for {fingerprint, {op, _until}} <- state.quarantine.quarantined,
        not is_map_key(quarantine.quarantined, fingerprint),
        do: Telemetry.pool_release(state.options.name, op, fingerprint, why)

    publish(%{state | quarantine: quarantine})
  end

  defp publish(state) do
    :ok = Roster.quarantine(state.options.name, state.quarantine.quarantined)

    _timer =
      with left when is_integer(left) <- Quarantine.next_expiry(state.quarantine, now_ms()),
           do: Process.send_after(self(), :expire, left + 1)

    state
  end

  defp now_ms, do: System.monotonic_time(:millisecond)
end
