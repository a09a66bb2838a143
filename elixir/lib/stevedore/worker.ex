defmodule Stevedore.Worker do
  @moduledoc false
  # Owns one port, which is one OS process. It puts calls into frames and hands replies to callers,
  # and knows nothing of a job but its ticket: callers encode and decode.
  #
  #     booting ──► ready ──► draining ──► stopped
  #                   └─────► wounded ───────┘
  #
  # It boots when the process that started it, and monitors it by then, says so, and without blocking anybody: it
  # opens the port and says hello; the answer comes as any other message. After it the worker joins the roster.
  # A worker that is there for one job (`alone`) never joins it: it runs that job and ends.
  #
  # Nothing is repaired. If the port ends, or says one thing that is not in PROTOCOL.md, the worker stops
  # with that reason, and on its way out settles its jobs (ending.ex).
  #
  #   from callers and others   {:stevedore_call, ticket}, {:stevedore_cancel, id, ref}, {:stevedore_abandon, id, ref},
  #                             {:stevedore_confirm, id, ref, mover}, {:stevedore_overdue, id, ms},
  #                             {:stevedore_malformed, bytes}, {:stevedore_stats, ref}
  #   from the Manager          :boot, {:retire, grace}, :replaced, :recycle_failed
  #   to callers                {ref, message}, an undecoded reply or progress; {ref, {:settled, error}}

  use GenServer, restart: :temporary

  require Logger
  require Stevedore.Worker.Boot

  alias Stevedore.{
    Dispatch,
    Manager,
    Protocol,
    Roster,
    Search,
    Ticket
  }

  alias Stevedore.Worker.{Boot, Controls, Delivery, Ending, InFlight, Intake, Wear, Wound}

  # ms after which a worker with more jobs than threads looks whether others are idle.
  @balance_after 2

  # ms until a job is looked for again that is on its way here.
  @find_after 5

  @enforce_keys [:options, :pool]
  defstruct [
    :options,
    :pool,
    :load,
    :ids,
    :port,
    :os_pid,
    :started_at,
    :black_box,
    :black_box_path,
    :stdin,
    :oom_kills,
    :cgroup,
    :alone,
    :wear,
    # Why it cannot start, as it says itself.
    :last_words,
    phase: :booting,
    threads: 1,
    idempotent: MapSet.new(),
    # What is not a job: control calls that wait for their answer, by id.
    controls: %{},
    stuck: MapSet.new(),
    balancing: false,
    replaced: false
  ]

  @type t :: %__MODULE__{}

  @typedoc "`:pool`: serves the pool. A ticket: runs that job alone."
  @type role :: :pool | Ticket.t()

  @spec child_spec({map, role}) :: Supervisor.child_spec()
  def child_spec({options, role}) do
    %{
      id: __MODULE__,
      start: {__MODULE__, :start_link, [options, role]},
      restart: :temporary,
      shutdown: Ending.shutdown_ms(options)
    }
  end

  @spec start_link(map, role) :: GenServer.on_start()
  def start_link(options, role), do: GenServer.start_link(__MODULE__, {options, role})

  @doc "Starts the OS process, once. Whatever goes wrong is the reason with which the worker ends."
  @spec boot(pid) :: :boot
  def boot(worker), do: send(worker, :boot)

  @doc "Makes it hand over what has not started, finish what runs within `grace` ms, and end."
  @spec retire(pid, non_neg_integer) :: :ok
  def retire(worker, grace) do
    send(worker, {:retire, grace})
    :ok
  end

  @doc "Tells a wounded worker that another one serves in its place: it may end."
  @spec replaced(pid) :: :replaced
  def replaced(worker), do: send(worker, :replaced)

  @doc "Tells a worker that asked to be replaced that there was no replacement: it goes on."
  @spec recycle_failed(pid) :: :recycle_failed
  def recycle_failed(worker), do: send(worker, :recycle_failed)

  ## Server

  @impl true
  def init({options, role}) do
    Process.flag(:trap_exit, true)
    Process.set_label({__MODULE__, options.name})
    alone = if role != :pool, do: role
    {:ok, %__MODULE__{options: options, pool: options.name, alone: alone}}
  end

  @impl true
  def handle_info({:stevedore_call, ticket}, %{phase: :ready} = worker) do
    :ok = Intake.take(ticket, worker)
    after_change(worker)
  end

  # It has left the roster, but not everybody knew.
  def handle_info({:stevedore_call, ticket}, worker) do
    :ok = Dispatch.move([ticket], worker.phase)
    {:noreply, worker}
  end

  def handle_info({port, {:data, frame}}, %{port: port} = worker) do
    case Protocol.messages(frame) do
      {:ok, messages} -> receive_all(messages, worker)
      :malformed -> stop({:malformed, beginning(frame)}, worker)
    end
  end

  # Many may die at once, and each look for what they had waited for goes through all jobs.
  def handle_info({:DOWN, _monitor, :process, caller, _reason}, worker) do
    [caller | others_down()] |> InFlight.drop_callers() |> Enum.each(&caller_died(&1, worker))
    {:noreply, worker}
  end

  def handle_info({what, _id, _ref} = message, worker)
      when what in [:stevedore_cancel, :stevedore_abandon],
      do: find(message, worker)

  def handle_info({:stevedore_confirm, id, ref, mover}, worker) do
    :ok = Search.confirm(InFlight.fetch(id, ref), worker.pool, ref, mover)
    {:noreply, worker}
  end

  def handle_info({:stevedore_stats, ref}, worker),
    do: {:noreply, Controls.ask_stats(worker, ref)}

  # Its caller has waited for all its limits, and a second: the process keeps none of them, and cannot be asked.
  # But a job that came from another worker has its limits from then.
  def handle_info({:stevedore_overdue, id, limit} = message, worker) do
    with {:ok, ticket} <- InFlight.fetch(id),
         left when left > 0 <- Ticket.left_since_move(ticket, limit) do
      _timer = Process.send_after(self(), message, left)
      {:noreply, worker}
    else
      :error -> {:noreply, worker}
      _none -> stop({:planned, :unresponsive}, worker)
    end
  end

  # exit_status, EXIT and a write that fails may come in any order or not at all: the first one wins.
  def handle_info({port, {:exit_status, status}}, %{port: port} = worker) do
    stop({:port_exited, status}, worker)
  end

  def handle_info({:EXIT, port, reason}, %{port: port} = worker) do
    stop({:port_closed, reason}, worker)
  end

  def handle_info(:balance, worker), do: {:noreply, balance(%{worker | balancing: false})}

  def handle_info({:wear, _sign} = message, %{phase: :ready} = worker) do
    case Wear.check(worker.wear, message, worker.os_pid) do
      {:worn, why, wear} -> {:noreply, ask_for_replacement(why, %{worker | wear: wear})}
      {:kill, why} -> stop({:planned, why}, worker)
      {:fine, wear} -> {:noreply, %{worker | wear: wear}}
    end
  end

  def handle_info(:recycle_failed, worker) do
    {:noreply, %{worker | wear: worker.wear && Wear.go_on(worker.wear)}}
  end

  def handle_info({:retire, _grace}, %{phase: :wounded} = worker),
    do: after_change(%{worker | replaced: true})

  def handle_info({:retire, _grace}, %{phase: :draining} = worker), do: {:noreply, worker}

  def handle_info({:retire, grace}, worker) do
    options = %{worker.options | drain_timeout: grace}
    {:stop, {:shutdown, :retired}, %{worker | options: options}}
  end

  def handle_info(:replaced, worker), do: after_change(%{worker | replaced: true})
  def handle_info(:wounded_long_enough, worker), do: stop({:planned, :stuck_job}, worker)

  def handle_info(:boot, %{port: nil} = worker) do
    case Boot.open(worker) do
      {:ok, worker} -> {:noreply, Boot.say_hello(worker)}
      {:error, reason} -> stop({:not_opened, reason}, worker)
    end
  end

  def handle_info({:stevedore_malformed, message}, worker) do
    stop({:malformed, message}, worker)
  end

  def handle_info(:boot_timeout, %{phase: :booting} = worker) do
    stop({:boot_timeout, worker.options.boot_timeout}, worker)
  end

  def handle_info(_other, worker), do: {:noreply, worker}

  ## Calls

  # What is in flight has changed: tell callers, and see whether there is something to do about it.
  defp after_change(%{phase: :ready, load: {_loads, _place}} = worker) do
    :ok = publish_load(worker)

    if InFlight.size() > worker.threads and not worker.balancing,
      do: {:noreply, balance_later(worker)},
      else: {:noreply, worker}
  end

  defp after_change(%{phase: :ready, alone: %Ticket{}} = worker) do
    done? = InFlight.taken() > 0 and InFlight.size() == 0

    if done?,
      do: {:stop, {:shutdown, :done}, worker},
      else: {:noreply, worker}
  end

  defp after_change(%{phase: :wounded} = worker) do
    if Wound.alone?(worker) and (worker.replaced or worker.alone != nil),
      do: stop({:planned, :stuck_job}, worker),
      else: {:noreply, worker}
  end

  defp after_change(worker), do: {:noreply, worker}

  @doc "Tells callers how much it has in flight, if it serves them."
  @spec publish_load(t) :: :ok
  def publish_load(%{load: nil}), do: :ok

  def publish_load(%{load: {loads, place}}),
    do: :atomics.put(loads, place, InFlight.size())

  # Jobs that wait here while threads elsewhere have nothing to do are taken back and handed over. Looked for
  # by the worker that has too many, every few ms as long as it has: that costs nothing while all is well.
  defp balance(%{phase: :ready, load: {_loads, _place}} = worker) do
    waiting = InFlight.size() - worker.threads
    elsewhere = if waiting > 0, do: Roster.idle_elsewhere(worker.pool), else: 0

    cond do
      waiting <= 0 -> worker
      elsewhere == 0 or Controls.taking_back?(worker) -> balance_later(worker)
      true -> worker |> Controls.take_back(min(waiting, elsewhere), :balance) |> balance_later()
    end
  end

  defp balance(worker), do: worker

  defp balance_later(worker) do
    _timer = Process.send_after(self(), :balance, @balance_after)
    %{worker | balancing: true}
  end

  defp ask_for_replacement(why, worker) do
    Manager.recycle(worker.pool, self(), why)
    worker
  end

  ## Cancelling

  # It may have moved on, or be on its way here.
  defp find({_what, id, ref} = message, worker) do
    case InFlight.fetch(id, ref) do
      {:ok, ticket} -> do_to(message, ticket, worker)
      :error -> :ok = look_for(message, worker)
    end

    {:noreply, worker}
  end

  # A worker that is there for one job has not taken it yet, or is done with it.
  defp look_for(message, %{alone: %Ticket{}}),
    do: if(InFlight.taken() == 0, do: find_later(message), else: :ok)

  defp look_for(message, worker), do: Search.pass_on(worker.pool, message, &find_later/1)

  defp find_later(message) do
    _timer = Process.send_after(self(), message, @find_after)
    :ok
  end

  defp do_to({:stevedore_cancel, id, _ref}, ticket, worker) do
    command(worker, Protocol.cancel(id))
    InFlight.put(%{ticket | cancelled: true})
  end

  defp do_to({:stevedore_abandon, _id, _ref}, ticket, worker), do: abandon(ticket, worker)

  defp others_down do
    receive do
      {:DOWN, _monitor, :process, caller, _reason} -> [caller | others_down()]
    after
      0 -> []
    end
  end

  defp caller_died(ticket, worker) do
    :ok = Dispatch.caller_died(ticket, self())
    abandon(ticket, worker)
  end

  defp abandon(ticket, worker) do
    command(worker, Protocol.cancel(ticket.id))
    InFlight.abandon(ticket)
  end

  @doc """
  Writes a frame. As a message, not by Port.command/2: that waits for the port's lock, which is taken while
  replies are read, and so puts the two directions one after the other. A port that has just ended swallows
  it; its exit_status or EXIT is on the way and says more. It never waits for the process to read (launch.ex).
  """
  @spec command(t, iodata) :: :ok
  def command(worker, frame) do
    send(worker.port, {self(), {:command, frame}})
    :ok
  end

  ## Messages from the port

  # Nearly all messages are replies to somebody who waits: those only touch what is in flight.
  defp receive_all(messages, %{phase: :booting} = worker), do: receive_each(messages, worker)

  defp receive_all(messages, worker) do
    messages |> Delivery.replies() |> receive_each(worker)
  end

  defp receive_each([], worker), do: after_change(worker)

  defp receive_each([message | messages], worker) do
    case receive_one(Protocol.route(message), message, worker) do
      {:ok, worker} -> receive_all(messages, worker)
      {:stop, reason} -> stop(reason, worker)
    end
  end

  defp receive_one({:reply, Boot.hello_id()}, message, %{phase: :booting} = worker) do
    Boot.become_ready(Protocol.decode_reply(message), worker)
  end

  defp receive_one({:reply, id}, message, worker) do
    with :unknown_id <- Controls.answered(id, message, worker), do: {:stop, {:unknown_id, id}}
  end

  defp receive_one({:progress, id, done, total}, message, worker) do
    with {:ok, ticket} <- InFlight.fetch(id) do
      Delivery.progress(ticket, done, total, message)
      {:ok, worker}
    else
      :error -> {:stop, {:unknown_id, id}}
    end
  end

  # Its end, which follows, says it.
  defp receive_one({:log, :error, text, nil}, _message, %{phase: :booting} = worker),
    do: {:ok, %{worker | last_words: text}}

  defp receive_one({:log, level, text, id}, _message, worker) do
    :ok = Delivery.log(level, text, id, worker)
    {:ok, worker}
  end

  defp receive_one({:stuck, id, ran_us, stack}, _message, worker) do
    case InFlight.fetch(id) do
      {:ok, ticket} -> {:ok, Wound.receive_stuck(ticket, ran_us, stack, worker)}
      :error -> {:stop, {:unknown_id, id}}
    end
  end

  defp receive_one({:bye, _reason}, _message, %{phase: :draining} = worker), do: {:ok, worker}
  defp receive_one({:bye, reason}, _message, _worker), do: {:stop, {:bye, reason}}
  defp receive_one(:malformed, message, _worker), do: {:stop, {:malformed, beginning(message)}}

  defp beginning(bytes), do: bytes |> binary_part(0, min(32, byte_size(bytes))) |> :binary.copy()

  ## The end

  # Before it was ready its end is a failed start: who started it wants to know what to tell.
  defp stop(reason, %{phase: :booting} = worker) do
    {:stop, {:shutdown, Boot.error(reason, worker)}, worker}
  end

  # Said, settled and counted by ending.ex: no crash report.
  defp stop({:planned, _why} = reason, worker), do: {:stop, {:shutdown, reason}, worker}
  defp stop(reason, worker), do: {:stop, {:shutdown, {:died, reason}}, worker}

  @impl true
  def terminate(_reason, %{port: nil}), do: :ok
  def terminate(reason, worker), do: Ending.terminate(reason, worker, &handle_info/2)

  @doc false
  @spec metadata(t) :: map
  def metadata(worker), do: %{pool: worker.pool, worker: self(), os_pid: worker.os_pid}

  # Crash reports say how many jobs there were, not what was in them.
  @impl true
  def format_status(status) do
    status
    |> Map.replace(:message, :not_shown)
    |> Map.replace(:log, [])
    |> Map.replace_lazy(:state, fn worker ->
      Map.merge(metadata(worker), %{phase: worker.phase, in_flight: InFlight.size()})
    end)
  end
end
