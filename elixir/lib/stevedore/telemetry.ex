defmodule Stevedore.Telemetry do
  alias Stevedore.Telemetry.{Events, Log}

  @moduledoc """
  The events of Stevedore. They are emitted if the application has the `:telemetry` library; else this
  costs nothing.

      :telemetry.attach("slow jobs", [:stevedore, :job, :stop], fn _event, measurements, metadata, _config ->
        ms = System.convert_time_unit(measurements.duration, :native, :millisecond)
        if ms > 1_000, do: IO.puts("\#{metadata.op} took \#{ms} ms")
      end, nil)

  `events/0` lists them all, `attach_default_logger/1` logs them, `Stevedore.Metrics` makes metrics of them for
  Telemetry.Metrics, and `measure/0` adds what is no event: how full the pools are.

  All times are in native units (`System.convert_time_unit/3`) unless the name says otherwise. `system_time` and
  `monotonic_time` are when the event was.

  ## Jobs

  Each job that was started has exactly one end: `:stop` or `:exception`. The caller emits both ends in
  its own process: the second when it takes the result, so a job that nobody awaits has no end. If the
  caller died, the worker's process emits the exception. What happens in between is emitted by whoever has the job.

  The metadata *of a job*: `pool`, `node` (of the pool), `op`, `job` (the reference in `Stevedore.Job`), `worker` (the process it
  was sent to; `nil` if it never got to one, or has none yet) and `context`, the call option: see "OpenTelemetry" below. `duration` is
  what the caller saw; `queue_time`, `run_time` and `cpu_time` are what the worker measured.

  #{Events.docs(:job)}

  Not an event of its own: a job's start on a thread, which is `queue_time` before its end, and its progress.

  A job that was called for another node's pool (`Stevedore.call({pool, node}, …)`) has its `:start` and its end on the node
  that called. If its caller died, its end is emitted on the pool's node. `:moved` and `:settled` are emitted where the job is,
  with a reference of their own.

  ## Workers

  The metadata *of a worker*: `pool`, `worker` (its process) and `os_pid`.

  #{Events.docs(:worker)}

  A worker program that cannot even be executed has neither start nor stop, only the pool's `:restart`.

  ## Pools

  #{Events.docs(:pool)}

  A pool that cannot start has no event: its start returns the error.

  ## OpenTelemetry

  A call's option `:context` is in the metadata of all its events, also those that other processes emit. Without the option it
  is OpenTelemetry's current context of the caller, if `:opentelemetry_api` was there when Stevedore was compiled. So a handler
  can make a span for the job with the right parent, in whatever process it runs; [Observability](observability.md) has one.
  """

  alias Stevedore.{Error, Job, Remote, Ticket}

  @doc """
  The names of all events: for `:telemetry.attach_many/4`.

      iex> [:stevedore, :job, :stop] in Stevedore.Telemetry.events()
      true
  """
  @spec events() :: [[atom, ...], ...]
  def events, do: for({name, _measurements, _metadata} <- Events.all(), do: name)

  @doc """
  Logs events, one readable line each, with what they say as metadata of the log (`stevedore_pool`, `stevedore_op`,
  `stevedore_error` and so on; see `Stevedore.Telemetry.Log`).

      :ok = Stevedore.Telemetry.attach_default_logger(:info)
      :ok = Stevedore.Telemetry.attach_default_logger(level: :debug, jobs: :all)

  #{Log.docs()}

  Attaching it again changes the options. Raises an `ArgumentError` for a wrong option, and a `RuntimeError` that says what to do
  if Stevedore was compiled without `:telemetry`.
  """
  # It raises where :telemetry is not.
  @dialyzer {:no_return, attach_default_logger: 0, attach_default_logger: 1}
  @spec attach_default_logger(Logger.level() | keyword) :: :ok
  def attach_default_logger(options \\ []), do: Log.attach(options)

  @doc "Takes back `attach_default_logger/1`."
  @spec detach_default_logger() :: :ok | {:error, :not_found}
  def detach_default_logger, do: Log.detach()

  @doc """
  Emits `[:stevedore, :pool, :stats]` for each pool of this VM: for a poller, such as

      {:telemetry_poller, measurements: [{Stevedore.Telemetry, :measure, []}], period: 10_000}
  """
  @spec measure() :: :ok
  def measure do
    for pool <- Stevedore.pools(), {:ok, stats} <- [Stevedore.stats(pool)] do
      execute([:pool, :stats], fn -> {Stevedore.Stats.sum_up(stats), %{pool: pool}} end)
    end

    :ok
  end

  @doc false
  @spec job_start(Job.t() | Ticket.t()) :: :ok
  def job_start(job) do
    execute([:job, :start], fn ->
      {%{system_time: System.system_time(), monotonic_time: job.started_at}, job_metadata(job)}
    end)
  end

  @doc false
  @spec job_stop(Job.t() | Ticket.t(), pid | nil, Error.receipt()) :: :ok
  def job_stop(job, worker, receipt) do
    execute([:job, :stop], fn ->
      {job_measurements(job, receipt), %{job_metadata(job) | worker: worker}}
    end)
  end

  @doc false
  @spec job_exception(Job.t() | Ticket.t(), Error.t()) :: :ok
  def job_exception(job, error) do
    execute([:job, :exception], fn ->
      failure = %{kind: :error, reason: error, stacktrace: []}
      {job_measurements(job, error.receipt), Map.merge(job_metadata(job), failure)}
    end)
  end

  @doc false
  @spec job_cancel(Job.t(), :cancel | :abandon) :: :ok
  def job_cancel(job, why) do
    execute([:job, :cancel], fn -> {now(), Map.put(job_metadata(job), :why, why)} end)
  end

  @doc false
  @spec job_moved(Ticket.t(), atom) :: :ok
  def job_moved(ticket, why) do
    execute([:job, :moved], fn -> {now(), Map.put(job_metadata(ticket), :why, why)} end)
  end

  @doc false
  @spec job_settled(Ticket.t(), Error.t(), :culprit | :victim | :suspect) :: :ok
  def job_settled(ticket, error, role) do
    execute([:job, :settled], fn ->
      {now(), Map.merge(job_metadata(ticket), %{role: role, reason: error, worker: self()})}
    end)
  end

  @doc false
  @spec worker_draining(map, non_neg_integer) :: :ok
  def worker_draining(metadata, in_flight) do
    execute([:worker, :draining], fn -> {Map.put(now(), :in_flight, in_flight), metadata} end)
  end

  @doc false
  @spec worker_wounded(map, non_neg_integer) :: :ok
  def worker_wounded(metadata, in_flight) do
    execute([:worker, :wounded], fn -> {Map.put(now(), :in_flight, in_flight), metadata} end)
  end

  @doc false
  @spec worker_start(map) :: :ok
  def worker_start(metadata), do: execute([:worker, :start], fn -> {now(), metadata} end)

  @doc false
  @spec worker_ready(integer, map) :: :ok
  def worker_ready(started_at, metadata) do
    execute([:worker, :ready], fn -> {since(started_at), metadata} end)
  end

  @doc false
  # Nobody knows what was in flight in a worker that was killed.
  @spec worker_stop(integer, non_neg_integer | nil, map) :: :ok
  def worker_stop(started_at, nil, metadata) do
    execute([:worker, :stop], fn -> {since(started_at), metadata} end)
  end

  def worker_stop(started_at, in_flight, metadata) do
    execute([:worker, :stop], fn ->
      {Map.put(since(started_at), :in_flight, in_flight), metadata}
    end)
  end

  @doc false
  @spec pool_start(atom, pos_integer) :: :ok
  def pool_start(pool, workers) do
    execute([:pool, :start], fn -> {Map.put(now(), :workers, workers), %{pool: pool}} end)
  end

  @doc false
  @spec pool_restart(atom, non_neg_integer, atom) :: :ok
  def pool_restart(pool, delay_ms, cause) do
    execute([:pool, :restart], fn ->
      {Map.put(now(), :delay_ms, delay_ms), %{pool: pool, cause: cause}}
    end)
  end

  @doc false
  @spec pool_replace(atom, pid, atom) :: :ok
  def pool_replace(pool, worker, why) do
    execute([:pool, :replace], fn -> {now(), %{pool: pool, worker: worker, why: why}} end)
  end

  @doc false
  @spec pool_replace_failed(atom, pid | nil, atom, String.t()) :: :ok
  def pool_replace_failed(pool, worker, why, reason) do
    execute([:pool, :replace_failed], fn ->
      {now(), %{pool: pool, worker: worker, why: why, reason: reason}}
    end)
  end

  @doc false
  @spec pool_resize(atom, pos_integer) :: :ok
  def pool_resize(pool, workers) do
    execute([:pool, :resize], fn -> {Map.put(now(), :workers, workers), %{pool: pool}} end)
  end

  @doc false
  @spec pool_drain(atom, non_neg_integer) :: :ok
  def pool_drain(pool, timeout) do
    execute([:pool, :drain], fn -> {Map.put(now(), :timeout_ms, timeout), %{pool: pool}} end)
  end

  @doc false
  @spec pool_drained(atom) :: :ok
  def pool_drained(pool), do: execute([:pool, :drained], fn -> {now(), %{pool: pool}} end)

  @doc false
  @spec pool_release(atom, String.t(), binary, :released | :expired) :: :ok
  def pool_release(pool, op, fingerprint, why) do
    execute([:pool, :release], fn ->
      {now(), %{pool: pool, op: op, fingerprint: fingerprint, why: why}}
    end)
  end

  @doc false
  @spec pool_circuit(atom, atom, atom) :: :ok
  def pool_circuit(pool, from, to) do
    execute([:pool, :circuit], fn -> {now(), %{pool: pool, from: from, to: to}} end)
  end

  @doc false
  @spec pool_quarantine(atom, String.t(), binary, pos_integer) :: :ok
  def pool_quarantine(pool, op, fingerprint, for_ms) do
    execute([:pool, :quarantine], fn ->
      {Map.put(now(), :for_ms, for_ms), %{pool: pool, op: op, fingerprint: fingerprint}}
    end)
  end

  @doc false
  @spec pool_stop(atom, term) :: :ok
  def pool_stop(pool, reason) do
    execute([:pool, :stop], fn -> {now(), %{pool: pool, reason: reason}} end)
  end

  defp job_metadata(job) do
    %{
      pool: job.pool,
      node: Remote.node_of(job),
      op: job.op,
      job: job.ref,
      worker: Map.get(job, :worker),
      context: job.context
    }
  end

  defp job_measurements(job, nil), do: since(job.started_at)

  defp job_measurements(job, receipt) do
    Map.merge(since(job.started_at), %{
      queue_time: native(receipt.queued_us),
      run_time: native(receipt.ran_us),
      cpu_time: native(receipt.cpu_us)
    })
  end

  defp now do
    %{system_time: System.system_time(), monotonic_time: System.monotonic_time()}
  end

  defp since(started_at) do
    now = System.monotonic_time()
    %{duration: now - started_at, monotonic_time: now}
  end

  defp native(us), do: System.convert_time_unit(us, :microsecond, :native)

  # A function makes measurements and metadata, so that nothing is built where nobody can see it: not even the function.
  @compile {:inline, execute: 2}
  if match?({:module, _}, Code.ensure_compiled(:telemetry)) do
    defp execute(event, make) do
      {measurements, metadata} = make.()
      :telemetry.execute([:stevedore | event], measurements, metadata)
    end
  else
    defp execute(_event, _make), do: :ok
  end
end
