defmodule Stevedore.Dispatcher do
  @moduledoc false
  # Has the jobs that are with no worker, for as long as they are: those that came when none was ready (held.ex), and
  # the suspects, which are run again one at a time, each in a worker of its own (isolation.ex). And it keeps the
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
    Telemetry,
    Ticket,
    Whereabouts
  }

  alias Stevedore.Dispatcher.{Held, Isolation}

  # ms until a job is looked for again that is on its way here.
  @find_after 5

  @enforce_keys [:options, :quarantine]
  defstruct [
    :options,
    :quarantine,
    :closed,
    held: Held.new(),
    isolation: %Isolation{}
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

    waiting = Held.size(state.held) + Isolation.size(state.isolation)
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
    {tickets, orphans} = state.held |> Held.by_priority() |> Enum.split_with(&Dispatch.wanted?/1)
    Enum.each(orphans, &Dispatch.drop_orphan/1)
    :ok = Dispatch.move(tickets, :held)
    {:noreply, %{state | held: Held.new()}}
  end

  def handle_info({:close, refusal}, state), do: {:noreply, close_to_all(refusal, state)}

  def handle_info({:drain, refusal, grace, manager}, state) do
    state = close_to_all(refusal, state)
    {:noreply, isolated(state, &Isolation.drain(&1, grace, manager, &2))}
  end

  def handle_info(:open, state),
    do: {:noreply, isolated(%{state | closed: nil}, &Isolation.open/2)}

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
    case where(state, id, ref) do
      {:here, ticket} ->
        refuse_all([ticket], {:cancelled, "cancelled before it ran", %{}})
        {:noreply, drop(state, ticket)}

      {:alone_in, worker} ->
        send(worker, {what, id, ref})
        {:noreply, state}

      :nowhere ->
        :ok = Search.pass_on(state.options.name, {what, id, ref}, &find_later/1)
        {:noreply, state}
    end
  end

  def handle_info({:stevedore_confirm, id, ref, mover}, state) do
    pool = state.options.name

    case where(state, id, ref) do
      {:here, ticket} -> :ok = Search.confirm({:ok, ticket}, pool, ref, mover)
      # It is for that worker to say where the job is.
      {:alone_in, _worker} -> :ok
      :nowhere -> :ok = Search.confirm(:error, pool, ref, mover)
    end

    {:noreply, state}
  end

  # The process of its worker keeps no limits: it would be in the way of all other suspects.
  def handle_info({:stevedore_overdue, id, _limit} = message, state) do
    _ = with pid when pid != nil <- Isolation.worker(state.isolation, id), do: send(pid, message)
    {:noreply, state}
  end

  def handle_info(:expire, state) do
    {:noreply, lift(state, Quarantine.expire(state.quarantine, now_ms()), :expired)}
  end

  def handle_info({:isolate, ticket}, state),
    do: {:noreply, isolated(state, &Isolation.add(&1, ticket, &2))}

  def handle_info(
        {:DOWN, monitor, :process, _pid, reason},
        %{isolation: %{alone: {monitor, _worker, ticket}}} = state
      ) do
    returned? = find(state, ticket.id, ticket.ref) != nil
    {:noreply, isolated(state, &Isolation.ended(&1, reason, returned?, &2))}
  end

  def handle_info(_other, state), do: {:noreply, state}

  @impl true
  def terminate(_reason, state) do
    refuse_all(
      Held.tickets(state.held),
      {:unavailable, "the pool #{inspect(state.options.name)} is stopping", %{}}
    )

    _isolation = Isolation.settle(state.isolation, "the pool is stopping")
    :ok
  end

  ## Held jobs

  defp hold(ticket, %{closed: nil} = state) do
    if Held.size(state.held) < state.options.max_queue do
      expire_later(ticket)
      %{state | held: Held.add(state.held, ticket)}
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
    refuse_all(Held.tickets(state.held), refusal)
    %{state | held: Held.new(), closed: refusal}
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

  defp where(state, id, ref) do
    case {find(state, id, ref), Isolation.worker(state.isolation, id)} do
      {%Ticket{} = ticket, _worker} -> {:here, ticket}
      {nil, nil} -> :nowhere
      {nil, worker} -> {:alone_in, worker}
    end
  end

  defp find(state, id, ref),
    do: Held.find(state.held, id, ref) || Isolation.find(state.isolation, id, ref)

  defp drop(state, ticket) do
    %{
      state
      | held: Held.drop(state.held, ticket),
        isolation: Isolation.drop(state.isolation, ticket)
    }
  end

  defp isolated(state, change),
    do: %{state | isolation: change.(state.isolation, state.options)}

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
