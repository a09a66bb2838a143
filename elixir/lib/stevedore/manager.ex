defmodule Stevedore.Manager do
  @moduledoc false
  # Keeps a pool at its size: starts the workers, and another one for each that ends, at once or after
  # a back-off. It is not on the way of any job; only callers that find no ready worker wait here.
  #
  # The first start is strict: if a worker does not get ready, the pool does not start, and the error
  # says why. Later on a worker that cannot start is a crash like any other and is tried again.

  use GenServer

  require Logger

  alias Stevedore.{Backoff, Error, Roster, Telemetry, Worker, WorkerSupervisor}

  @enforce_keys [:options, :backoff]
  defstruct [:options, :backoff, :last_end, waiters: %{}]

  @spec start_link(map) :: GenServer.on_start()
  def start_link(options), do: GenServer.start_link(__MODULE__, options, name: name(options.name))

  @doc "Returns when the pool has a ready worker, or after that many ms with what keeps it from having one."
  @spec await_worker(atom, timeout) :: :ok | {:error, String.t()}
  def await_worker(pool, timeout) do
    GenServer.call(name(pool), {:await_worker, timeout}, :infinity)
  catch
    :exit, _reason -> {:error, "the pool is not running, or is stopping"}
  end

  @doc "Called by a worker that has joined the roster."
  @spec worker_ready(atom) :: :ok
  def worker_ready(pool) do
    case Process.whereis(name(pool)) do
      nil -> :ok
      manager -> send(manager, {:worker_ready, self()}) && :ok
    end
  end

  defp name(pool), do: Module.concat(pool, Manager)

  ## Server

  @impl true
  def init(options) do
    manager = %__MODULE__{
      options: options,
      backoff: Backoff.new(options.backoff_min, options.backoff_max)
    }

    # After a crash of the Manager alone there are workers already.
    adopted = WorkerSupervisor.workers(options.name)
    Enum.each(adopted, &watch_and_boot/1)
    started = for _ <- 1..(options.workers - length(adopted))//1, do: start_worker(options)

    case await_all(started) do
      :ok ->
        Telemetry.pool_start(options.name, options.workers)
        {:ok, manager}

      {:error, reason} ->
        {:stop, reason}
    end
  end

  defp start_worker(options) do
    options |> WorkerSupervisor.start_worker() |> watch_and_boot()
  end

  # In this order, or the reason of an early end would be missed.
  defp watch_and_boot(pid) do
    _monitor = Process.monitor(pid)
    Worker.boot(pid)
    pid
  end

  # They boot at the same time, each within its own boot_timeout.
  defp await_all([]), do: :ok

  defp await_all([pid | pids]) do
    receive do
      {:worker_ready, ^pid} -> await_all(pids)
      {:DOWN, _monitor, :process, ^pid, {:shutdown, %Error{} = error}} -> {:error, error}
      {:DOWN, _monitor, :process, ^pid, reason} -> {:error, reason}
    end
  end

  @impl true
  def handle_call({:await_worker, timeout}, from, manager) do
    case Roster.lookup(manager.options.name) do
      {:ok, [_ready | _], _defaults} -> {:reply, :ok, manager}
      _none -> {:noreply, add_waiter(manager, from, timeout)}
    end
  end

  @impl true
  def handle_info({:worker_ready, _pid}, manager) do
    Enum.each(manager.waiters, fn {_key, from} -> GenServer.reply(from, :ok) end)
    {:noreply, %{manager | waiters: %{}}}
  end

  def handle_info({:DOWN, _monitor, :process, _pid, reason}, manager) do
    {:noreply, start_later(manager, reason)}
  end

  def handle_info(:start_worker, manager) do
    _pid = start_worker(manager.options)
    {:noreply, manager}
  end

  def handle_info({:waited_enough, key}, manager) do
    {from, waiters} = Map.pop(manager.waiters, key)
    from && GenServer.reply(from, {:error, describe(manager.last_end)})
    {:noreply, %{manager | waiters: waiters}}
  end

  # An own message even if there is no delay, so that callers are not kept waiting by a storm.
  defp start_later(manager, reason) do
    {delay, backoff} = Backoff.next(manager.backoff, System.monotonic_time(:millisecond))
    pool = manager.options.name
    Telemetry.pool_restart(pool, delay, reason)
    Logger.warning(message(pool, delay, reason), stevedore_pool: pool, domain: [:stevedore])
    _timer = Process.send_after(self(), :start_worker, delay)
    %{manager | backoff: backoff, last_end: reason}
  end

  defp message(pool, delay, reason) do
    "a worker of #{inspect(pool)} ended (#{describe(reason)}); starting another in #{delay} ms"
  end

  defp add_waiter(manager, from, timeout) do
    key = make_ref()
    _timer = timeout != :infinity && Process.send_after(self(), {:waited_enough, key}, timeout)
    %{manager | waiters: Map.put(manager.waiters, key, from)}
  end

  defp describe(nil), do: "no worker is ready yet"
  defp describe({:shutdown, reason}), do: describe(reason)
  defp describe(%Error{} = error), do: error.message
  defp describe({:port_exited, status}), do: Worker.Launch.exit_status(status)
  defp describe(reason), do: inspect(reason)
end
