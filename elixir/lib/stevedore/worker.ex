defmodule Stevedore.Worker do
  @moduledoc false
  # Owns one port, which is one OS process. It puts calls into frames and hands replies to callers,
  # and knows nothing of a job but who waits for it: callers encode and decode.
  #
  # It boots when the Manager, which monitors it by then, says so, and without blocking anybody: it opens
  # the port and says hello; the answer comes as any other message. After it the worker joins the
  # roster and tells the Manager.
  #
  # Nothing is repaired. If the port ends, or says one thing that is not in PROTOCOL.md, the worker
  # stops with that reason; callers learn it from their monitors. It is not linked to them.
  #
  #   from callers   {:stevedore_call, body, job}, {:stevedore_cancel, job}, {:stevedore_abandon, job},
  #                  {:stevedore_malformed, bytes}
  #   to callers     {ref, message}, an undecoded reply or progress; {ref, :refused}, it never ran
  #
  # `ref` is at once the caller's monitor of this process and the alias for replies, so what comes
  # too late goes nowhere.

  use GenServer, restart: :temporary

  require Logger

  alias Stevedore.{Error, Job, Manager, Protocol, Roster, Telemetry}
  alias Stevedore.Worker.{InFlight, Launch}

  # What is in the mailbox goes out in one frame, up to these.
  @batch_calls 64
  @batch_bytes 65_536

  # Beyond the half second in which a worker ends by itself what did not stop (PROTOCOL §4.3).
  @end_grace 1_500

  # From SIGKILL to the end of the process.
  @kill_grace 1_000

  @hello_id 0

  @enforce_keys [:options]
  defstruct [
    :options,
    :load,
    :port,
    :os_pid,
    :started_at,
    phase: :booting,
    in_flight: InFlight.new()
  ]

  @spec child_spec(map) :: Supervisor.child_spec()
  def child_spec(options) do
    %{
      id: __MODULE__,
      start: {__MODULE__, :start_link, [options]},
      restart: :temporary,
      shutdown: options.drain_timeout + 2 * @end_grace
    }
  end

  @spec start_link(map) :: GenServer.on_start()
  def start_link(options) do
    # All calls pass through this process: room for a burst of them spares it most of its collections.
    GenServer.start_link(__MODULE__, options,
      spawn_opt: [min_heap_size: 16_384, message_queue_data: :off_heap]
    )
  end

  @doc "Starts the OS process, once. Whatever goes wrong is the reason with which the worker ends."
  @spec boot(pid) :: :boot
  def boot(worker), do: send(worker, :boot)

  ## Server

  @impl true
  def init(options) do
    Process.flag(:trap_exit, true)
    Process.set_label({__MODULE__, options.name})
    {:ok, %__MODULE__{options: options}}
  end

  @impl true
  def handle_info({:stevedore_call, body, job}, worker) do
    {id, in_flight} = accept(worker.in_flight, job)
    in_flight = drain(worker, in_flight, [{id, body}], batch_size(body), @batch_calls - 1)
    {:noreply, publish_load(%{worker | in_flight: in_flight})}
  end

  def handle_info({port, {:data, frame}}, %{port: port} = worker) do
    case Protocol.messages(frame) do
      {:ok, messages} -> receive_all(messages, worker)
      :malformed -> stop({:malformed, beginning(frame)}, worker)
    end
  end

  def handle_info({:DOWN, _monitor, :process, caller, _reason}, worker) do
    {jobs, in_flight} = InFlight.drop_caller(worker.in_flight, caller)
    {:noreply, Enum.reduce(jobs, %{worker | in_flight: in_flight}, &caller_died/2)}
  end

  def handle_info({:stevedore_cancel, job}, worker) do
    with {:ok, id} <- InFlight.id(worker.in_flight, job), do: command(worker, Protocol.cancel(id))
    {:noreply, worker}
  end

  def handle_info({:stevedore_abandon, job}, worker) do
    case InFlight.id(worker.in_flight, job) do
      {:ok, id} -> {:noreply, abandon(worker, id)}
      :error -> {:noreply, worker}
    end
  end

  # exit_status, EXIT and a write that fails may come in any order or not at all: the first one wins.
  def handle_info({port, {:exit_status, status}}, %{port: port} = worker) do
    stop({:port_exited, status}, worker)
  end

  def handle_info({:EXIT, port, reason}, %{port: port} = worker) do
    stop({:port_closed, reason}, worker)
  end

  def handle_info(:boot, %{port: nil} = worker) do
    case open(worker.options) do
      {:ok, port} -> {:noreply, say_hello(port, worker)}
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

  ## The start

  defp open(options) do
    {command, settings} = Launch.port(options)
    {:ok, Port.open(command, settings)}
  rescue
    error in [ErlangError, ArgumentError] -> {:error, Map.get(error, :original, :badarg)}
  end

  defp say_hello(port, worker) do
    {:os_pid, os_pid} = Port.info(port, :os_pid) || {:os_pid, nil}
    worker = %{worker | port: port, os_pid: os_pid, started_at: System.monotonic_time()}
    Telemetry.worker_start(metadata(worker))
    command(worker, Protocol.requests([{@hello_id, Protocol.encode_call("hello", nil)}]))
    _timer = Process.send_after(self(), :boot_timeout, worker.options.boot_timeout)
    worker
  end

  defp become_ready({:ok, %{"protocol" => version} = hello, _receipt}, worker) do
    if version == Protocol.version() do
      Telemetry.worker_ready(worker.started_at, Map.put(metadata(worker), :hello, hello))
      pool = worker.options.name
      load = Roster.join(pool, facts(worker, hello))
      Manager.worker_ready(pool)
      {:ok, %{worker | phase: :ready, load: load}}
    else
      {:stop, {:protocol_version, version}}
    end
  end

  defp become_ready({:error, kind, details, _receipt}, _worker) do
    {:stop, {:hello_refused, kind, details}}
  end

  defp become_ready(_other, _worker), do: {:stop, {:malformed, "hello"}}

  defp facts(worker, hello) do
    %{os_pid: worker.os_pid, version: hello["version"], threads: hello["threads"]}
  end

  ## Calls

  # One frame for all calls that are waiting; a call that is large goes alone, so that it holds up no
  # other and a frame never exceeds its limit.
  defp drain(worker, in_flight, calls, _bytes, 0), do: write(worker, in_flight, calls)

  defp drain(worker, in_flight, calls, bytes, left) do
    receive do
      {:stevedore_call, body, job} ->
        {id, in_flight} = accept(in_flight, job)

        case bytes + Protocol.element_size(body) do
          bytes when bytes <= @batch_bytes ->
            drain(worker, in_flight, [{id, body} | calls], bytes, left - 1)

          _too_many ->
            in_flight = write(worker, in_flight, calls)
            drain(worker, in_flight, [{id, body}], batch_size(body), left - 1)
        end
    after
      0 -> write(worker, in_flight, calls)
    end
  end

  defp batch_size(body), do: Protocol.batch_overhead() + Protocol.element_size(body)

  defp write(worker, in_flight, calls) do
    command(worker, Protocol.requests(calls))
    in_flight
  end

  defp accept(in_flight, job) do
    in_flight = know_caller(in_flight, job.owner)
    id = InFlight.next_id(in_flight)
    {id, InFlight.put(in_flight, id, job)}
  end

  defp know_caller(in_flight, pid) do
    if InFlight.caller?(in_flight, pid) do
      in_flight
    else
      _monitor = Process.monitor(pid)
      InFlight.add_caller(in_flight, pid)
    end
  end

  defp publish_load(%{load: nil} = worker), do: worker

  defp publish_load(%{load: {loads, place}} = worker) do
    :ok = :atomics.put(loads, place, InFlight.size(worker.in_flight))
    worker
  end

  defp caller_died({id, job}, worker) do
    error = %Error{kind: :cancelled, message: "its caller died", op: job.op, pool: job.pool}
    Telemetry.job_exception(job, %{error | worker: self()})
    abandon(worker, id)
  end

  defp abandon(worker, id) do
    command(worker, Protocol.cancel(id))
    %{worker | in_flight: InFlight.abandon(worker.in_flight, id)}
  end

  # As a message, not by Port.command/2: that waits for the port's lock, which is taken while replies are
  # read, and so puts the two directions one after the other. A port that has just ended swallows it; its
  # exit_status or EXIT is on the way and says more. One that is busy suspends this process all the same.
  defp command(worker, frame) do
    send(worker.port, {self(), {:command, frame}})
    :ok
  end

  ## Messages from the port

  # Nearly all messages are replies to somebody who waits: those only touch what is in flight.
  defp receive_all(messages, %{phase: :booting} = worker), do: receive_each(messages, worker)

  defp receive_all(messages, worker) do
    {rest, in_flight} = deliver(messages, worker.in_flight)
    receive_each(rest, %{worker | in_flight: in_flight})
  end

  # Up to the first message that is something else.
  defp deliver([message | messages] = all, in_flight) do
    with {:reply, id} <- Protocol.route(message),
         {job, in_flight} <- InFlight.take(in_flight, id) do
      send(job.ref, {job.ref, message})
      deliver(messages, in_flight)
    else
      _other -> {all, in_flight}
    end
  end

  defp deliver([], in_flight), do: {[], in_flight}

  defp receive_each([], worker), do: {:noreply, publish_load(worker)}

  defp receive_each([message | messages], worker) do
    case receive_one(Protocol.route(message), message, worker) do
      {:ok, worker} -> receive_all(messages, worker)
      {:stop, reason} -> stop(reason, worker)
    end
  end

  defp receive_one({:reply, @hello_id}, message, %{phase: :booting} = worker) do
    become_ready(Protocol.decode_reply(message), worker)
  end

  defp receive_one({:reply, id}, _message, _worker), do: {:stop, {:unknown_id, id}}

  defp receive_one({:progress, id, done, total}, message, worker) do
    with {:ok, job} <- InFlight.fetch(worker.in_flight, id) do
      report_progress(job, done, total, message)
      {:ok, worker}
    else
      :error -> {:stop, {:unknown_id, id}}
    end
  end

  defp receive_one({:log, level, text, id}, _message, worker) do
    Logger.log(level, text, log_metadata(worker, id))
    {:ok, worker}
  end

  defp receive_one({:bye, _reason}, _message, %{phase: :draining} = worker), do: {:ok, worker}
  defp receive_one({:bye, reason}, _message, _worker), do: {:stop, {:bye, reason}}
  defp receive_one(:malformed, message, _worker), do: {:stop, {:malformed, beginning(message)}}

  defp report_progress(%Job{on_progress: nil}, _done, _total, _message), do: :ok

  defp report_progress(%Job{on_progress: :caller, ref: ref}, _, _, message),
    do: send(ref, {ref, message})

  defp report_progress(%Job{on_progress: pid, ref: ref}, done, total, _message) do
    send(pid, {:stevedore_progress, ref, done, total})
  end

  defp log_metadata(worker, nil), do: [domain: [:stevedore], stevedore_pool: worker.options.name]

  defp log_metadata(worker, id) do
    case InFlight.fetch(worker.in_flight, id) do
      {:ok, job} -> [stevedore_op: job.op, stevedore_job: job.ref] ++ log_metadata(worker, nil)
      :error -> log_metadata(worker, nil)
    end
  end

  defp beginning(bytes), do: bytes |> binary_part(0, min(32, byte_size(bytes))) |> :binary.copy()

  ## The end

  # Before it was ready its end is a failed start: the Manager wants to know what to tell.
  defp stop(reason, %{phase: :booting} = worker) do
    {:stop, {:shutdown, boot_error(reason, worker.options)}, worker}
  end

  defp stop(reason, worker), do: {:stop, reason, worker}

  defp boot_error(reason, options) do
    path = Launch.executable(options)

    %Error{
      kind: :unavailable,
      message: "a worker could not start: " <> Launch.boot_failure(reason, path),
      pool: options.name,
      details: %{reason: reason, executable: path}
    }
  end

  @impl true
  def terminate(_reason, %{port: nil}), do: :ok

  def terminate(reason, worker) do
    worker = finish(reason, worker)
    refuse_waiting()
    in_flight = InFlight.size(worker.in_flight)

    Telemetry.worker_stop(
      worker.started_at,
      in_flight,
      Map.put(metadata(worker), :reason, reason)
    )
  end

  defp finish(reason, %{phase: :ready} = worker) when reason in [:normal, :shutdown] do
    :ok = Roster.leave(worker.options.name, self())
    grace = worker.options.drain_timeout
    command(worker, Protocol.stop(grace))
    deadline = System.monotonic_time(:millisecond) + grace + @end_grace
    # Its place may be another worker's from now on.
    await_end(%{worker | phase: :draining, load: nil}, deadline)
  end

  defp finish(_reason, worker), do: kill(worker)

  # Everything goes on as usual (replies find their callers, new calls are answered `unavailable`)
  # until the process has ended.
  defp await_end(worker, deadline) do
    receive do
      message ->
        case handle_info(message, worker) do
          {:noreply, worker} -> await_end(worker, deadline)
          {:stop, {:port_exited, _status}, worker} -> worker
          {:stop, _reason, worker} -> kill(worker)
        end
    after
      max(0, deadline - System.monotonic_time(:millisecond)) -> kill(worker)
    end
  end

  # Closing a port kills nothing. The OS process leads its own process group, and its id is certain to
  # be its own only while the port is open.
  defp kill(%{port: port} = worker) do
    if Port.info(port) do
      command = "kill -s KILL -- -#{worker.os_pid}"
      _ = System.cmd("/bin/sh", ["-c", command], stderr_to_stdout: true)
      await_death(port)
    end

    worker
  end

  # When a worker has terminated its process is gone, not just going.
  defp await_death(port) do
    receive do
      {^port, {:exit_status, _status}} -> true
      {:EXIT, ^port, _reason} -> true
    after
      @kill_grace -> Port.close(port)
    end
  rescue
    ArgumentError -> true
  end

  # What is still in the mailbox never got to the port.
  defp refuse_waiting do
    receive do
      {:stevedore_call, _body, job} ->
        send(job.ref, {job.ref, :refused})
        refuse_waiting()
    after
      0 -> :ok
    end
  end

  defp metadata(worker) do
    %{pool: worker.options.name, worker: self(), os_pid: worker.os_pid}
  end

  # Crash reports say how many jobs there were, not what was in them.
  @impl true
  def format_status(status) do
    status
    |> Map.replace(:message, :not_shown)
    |> Map.replace(:log, [])
    |> Map.replace_lazy(:state, fn worker ->
      in_flight = InFlight.size(worker.in_flight)
      Map.merge(metadata(worker), %{phase: worker.phase, in_flight: in_flight})
    end)
  end
end
