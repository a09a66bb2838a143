defmodule Stevedore.Worker.Boot do
  @moduledoc false
  # From nothing to ready: opens the port, says hello, reads the answer. Runs in the worker's process, and
  # blocks nowhere: the answer comes as any other message.

  alias Stevedore.{Error, Manager, Protocol, Roster, Telemetry, Ticket, Worker}
  alias Stevedore.Worker.{Ending, Launch, Wear}

  @hello_id 0

  @doc "The id under which a worker says hello: never a job's."
  defmacro hello_id, do: @hello_id

  @spec open(Worker.t()) :: {:ok, Worker.t()} | {:error, term}
  def open(worker) do
    path = Path.join(worker.options.directory, unique_name())
    {command, settings} = Launch.port(worker.options, path)
    {:ok, %{worker | port: Port.open(command, settings), black_box_path: path}}
  rescue
    error in [ErlangError, ArgumentError] -> {:error, Map.get(error, :original, :badarg)}
  end

  # It has this name only until the worker is ready.
  defp unique_name do
    unique = "#{System.os_time()}-#{System.unique_integer([:positive])}"
    mark() <> "#{unique}.blackbox"
  end

  @doc "By what the command line of a worker of this VM is known: its black box is named so."
  @spec mark() :: String.t()
  def mark, do: "stevedore-#{System.pid()}-"

  @doc "Removes the black boxes of workers that were booting when their VM was killed."
  @spec sweep(Path.t()) :: :ok
  def sweep(directory) do
    for path <- Path.wildcard(Path.join(directory, "stevedore-*.blackbox")),
        ["stevedore", pid | _unique] = path |> Path.basename() |> String.split("-"),
        not File.exists?("/proc/#{pid}"),
        do: _ = File.rm(path)

    :ok
  end

  @spec say_hello(Worker.t()) :: Worker.t()
  def say_hello(worker) do
    {:os_pid, os_pid} = Port.info(worker.port, :os_pid) || {:os_pid, nil}
    worker = %{worker | os_pid: os_pid, started_at: System.monotonic_time()}
    Telemetry.worker_start(Worker.metadata(worker))
    Worker.command(worker, Protocol.requests([Protocol.plain_call(@hello_id, "hello", nil)]))
    _timer = Process.send_after(self(), :boot_timeout, worker.options.boot_timeout)
    worker
  end

  @doc "What the answer to hello makes of the worker."
  @spec become_ready(Protocol.reply(), Worker.t()) :: {:ok, Worker.t()} | {:stop, term}
  def become_ready({:ok, %{"protocol" => version} = hello, _receipt}, worker) do
    if version == Protocol.version() do
      Telemetry.worker_ready(worker.started_at, Map.put(Worker.metadata(worker), :hello, hello))
      {:ok, _ready, %{ids: ids}} = Roster.lookup(worker.pool)
      threads = hello["threads"] || 1
      worker = %{worker | phase: :ready, threads: threads, idempotent: idempotent(hello)}
      %{worker | ids: ids} |> Ending.prepare() |> begin_to_serve(hello)
    else
      {:stop, {:protocol_version, version}}
    end
  end

  def become_ready({:error, kind, details, _receipt}, _worker) do
    {:stop, {:hello_refused, kind, details}}
  end

  def become_ready(_other, _worker), do: {:stop, {:malformed, "hello"}}

  defp begin_to_serve(%{alone: nil} = worker, hello) do
    facts = %{
      os_pid: worker.os_pid,
      version: hello["version"],
      threads: worker.threads,
      idempotent: worker.idempotent
    }

    load = Roster.join(worker.pool, facts)
    Manager.worker_ready(worker.pool, worker.os_pid, worker.black_box_path)
    {:ok, %{worker | load: load, wear: Wear.new(worker.options)}}
  end

  defp begin_to_serve(%{alone: ticket} = worker, _hello) do
    _ = File.rm(worker.black_box_path)
    send(self(), {:stevedore_call, Ticket.move(ticket, System.monotonic_time())})
    {:ok, worker}
  end

  defp idempotent(hello) do
    for %{"name" => name, "flags" => flags} <- hello["ops"] || [],
        "idempotent" in flags,
        into: MapSet.new(),
        do: name
  end

  @doc "Why it did not get ready: for who started it."
  @spec error(term, Worker.t()) :: Error.t()
  def error(reason, %{options: options, last_words: said}) do
    path = Launch.executable(options)
    details = %{"reason" => inspect(reason), "executable" => path}

    %Error{
      kind: :unavailable,
      message: "a worker could not start: " <> Launch.boot_failure(reason, path, said),
      pool: options.name,
      details: if(said, do: Map.put(details, "said", said), else: details)
    }
  end
end
