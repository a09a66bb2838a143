defmodule Stevedore.Telemetry do
  @moduledoc """
  The events of Stevedore. They are emitted if the application has the `:telemetry` library; else this
  costs nothing.

      :telemetry.attach("slow jobs", [:stevedore, :job, :stop], fn _event, measurements, metadata, _config ->
        ms = System.convert_time_unit(measurements.duration, :native, :millisecond)
        if ms > 1_000, do: IO.puts("\#{metadata.op} took \#{ms} ms")
      end, nil)

  All times are in native units (`System.convert_time_unit/3`) unless the name says otherwise.

  ## Jobs

  Each job that was started has exactly one end: `:stop` or `:exception`. The caller emits both ends in
  its own process: the second when it takes the result, so a job that nobody awaits has no end. If the
  caller died, the worker's process emits the exception.

  | event | measurements | metadata |
  |---|---|---|
  | `[:stevedore, :job, :start]` | `system_time`, `monotonic_time` | `pool`, `op`, `job`, `worker` |
  | `[:stevedore, :job, :stop]` | `duration`, `monotonic_time`, `queue_time`, `run_time`, `cpu_time` | the same |
  | `[:stevedore, :job, :exception]` | the same; the last three only if a worker measured them | the same, and `kind` (`:error`), `reason` (a `Stevedore.Error`), `stacktrace` |

  `job` is the reference in `Stevedore.Job`; `worker` is `nil` if the job never got to one. `duration` is
  what the caller saw; `queue_time`, `run_time` and `cpu_time` are what the worker measured.

  ## Workers

  | event | measurements | metadata |
  |---|---|---|
  | `[:stevedore, :worker, :start]` | `system_time`, `monotonic_time` | `pool`, `worker`, `os_pid` |
  | `[:stevedore, :worker, :ready]` | `duration` (of the boot), `monotonic_time` | the same, and `hello` (PROTOCOL §6) |
  | `[:stevedore, :worker, :stop]` | `duration` (of its life), `monotonic_time`, `in_flight` (jobs that it took with it) | `pool`, `worker`, `os_pid`, `reason` |

  `reason` is `:shutdown` for an orderly end, else the true one, such as `{:port_exited, 139}`.

  ## Pools

  | event | measurements | metadata |
  |---|---|---|
  | `[:stevedore, :pool, :start]` | `system_time`, `monotonic_time`, `workers` | `pool` |
  | `[:stevedore, :pool, :restart]` | `system_time`, `monotonic_time`, `delay_ms` until the next worker is started | `pool`, `reason` |
  | `[:stevedore, :pool, :stop]` | `system_time`, `monotonic_time` | `pool`, `reason` |
  """

  alias Stevedore.{Error, Job}

  @doc false
  @spec job_start(Job.t()) :: :ok
  def job_start(%Job{} = job) do
    execute([:job, :start], fn ->
      {%{system_time: System.system_time(), monotonic_time: job.started_at}, job_metadata(job)}
    end)
  end

  @doc false
  @spec job_stop(Job.t(), Error.receipt()) :: :ok
  def job_stop(%Job{} = job, receipt) do
    execute([:job, :stop], fn -> {job_measurements(job, receipt), job_metadata(job)} end)
  end

  @doc false
  @spec job_exception(Job.t(), Error.t()) :: :ok
  def job_exception(%Job{} = job, error) do
    execute([:job, :exception], fn ->
      failure = %{kind: :error, reason: error, stacktrace: []}
      {job_measurements(job, error.receipt), Map.merge(job_metadata(job), failure)}
    end)
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
  @spec worker_stop(integer, non_neg_integer, map) :: :ok
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
  @spec pool_restart(atom, non_neg_integer, term) :: :ok
  def pool_restart(pool, delay_ms, reason) do
    execute([:pool, :restart], fn ->
      {Map.put(now(), :delay_ms, delay_ms), %{pool: pool, reason: reason}}
    end)
  end

  @doc false
  @spec pool_stop(atom, term) :: :ok
  def pool_stop(pool, reason) do
    execute([:pool, :stop], fn -> {now(), %{pool: pool, reason: reason}} end)
  end

  defp job_metadata(job), do: %{pool: job.pool, op: job.op, job: job.ref, worker: job.worker}

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

  # A function makes measurements and metadata, so that nothing is built where nobody can see it.
  if match?({:module, _}, Code.ensure_compiled(:telemetry)) do
    defp execute(event, make) do
      {measurements, metadata} = make.()
      :telemetry.execute([:stevedore | event], measurements, metadata)
    end
  else
    defp execute(_event, _make), do: :ok
  end
end
