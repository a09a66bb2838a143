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
  | `[:stevedore, :job, :start]` | `system_time`, `monotonic_time` | `pool`, `node`, `op`, `job`, `worker` (`nil`: it has none yet) |
  | `[:stevedore, :job, :stop]` | `duration`, `monotonic_time`, `queue_time`, `run_time`, `cpu_time` | the same |
  | `[:stevedore, :job, :exception]` | the same; the last three only if a worker measured them | the same, and `kind` (`:error`), `reason` (a `Stevedore.Error`), `stacktrace` |

  | `[:stevedore, :job, :moved]` | `system_time`, `monotonic_time` | the same, and `why`: `:held` (had to wait for a worker), `:balance`, `:worker_died`, `:worker_killed`, `:wounded`, `:draining`, `:run_again`, `:isolated` |
  | `[:stevedore, :job, :settled]` | `system_time`, `monotonic_time` | of a dead worker's job that had started: the same as `:start`, and `role` (`:culprit`, `:victim`, `:suspect`), `reason` (a `Stevedore.Error`) |

  A job that was called for another node's pool (`Stevedore.call({pool, node}, …)`) has its `:start` and its end on the node
  that called, with `node` in the metadata: the node of the pool. If its caller died, its end is emitted on the pool's node.
  `:moved` and `:settled` are emitted where the job is, with a reference of their own.

  `job` is the reference in `Stevedore.Job`; `worker` is `nil` if the job never got to one. `duration` is
  what the caller saw; `queue_time`, `run_time` and `cpu_time` are what the worker measured.

  ## Workers

  | event | measurements | metadata |
  |---|---|---|
  | `[:stevedore, :worker, :start]` | `system_time`, `monotonic_time` | `pool`, `worker`, `os_pid` |
  | `[:stevedore, :worker, :ready]` | `duration` (of the boot), `monotonic_time` | the same, and `hello` (PROTOCOL §6) |
  | `[:stevedore, :worker, :draining]`, `[:stevedore, :worker, :wounded]` | `system_time`, `monotonic_time`, `in_flight` | `pool`, `worker`, `os_pid` |
  | `[:stevedore, :worker, :stop]` | `duration` (of its life), `monotonic_time`, `in_flight` (jobs that it took with it) | `pool`, `worker`, `os_pid`, `cause` (as in `Stevedore.stats/1`, or `:drained`), `reason` (the true one, such as `{:port_exited, 139}`), `crash` (what the black box says of it, or `nil`) |

  ## Pools

  | event | measurements | metadata |
  |---|---|---|
  | `[:stevedore, :pool, :start]` | `system_time`, `monotonic_time`, `workers` | `pool` |
  | `[:stevedore, :pool, :restart]` | `system_time`, `monotonic_time`, `delay_ms` until the next worker is started | `pool`, `cause` |
  | `[:stevedore, :pool, :replace]` | `system_time`, `monotonic_time` | `pool`, `worker`, `why`: `:restart`, `:max_jobs`, `:max_age`, `:max_idle`, `:max_rss` |
  | `[:stevedore, :pool, :circuit]` | `system_time`, `monotonic_time` | `pool`, `from`, `to` (`:closed`, `:open`) |
  | `[:stevedore, :pool, :quarantine]` | `system_time`, `monotonic_time`, `for_ms` | `pool`, `op`, `fingerprint` |
  | `[:stevedore, :pool, :stop]` | `system_time`, `monotonic_time` | `pool`, `reason` |
  """

  alias Stevedore.{Error, Job, Remote, Ticket}

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
  @spec job_exception(Job.t() | Ticket.t(), Error.t()) :: :ok
  def job_exception(job, error) do
    execute([:job, :exception], fn ->
      failure = %{kind: :error, reason: error, stacktrace: []}
      {job_measurements(job, error.receipt), Map.merge(job_metadata(job), failure)}
    end)
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
      worker: Map.get(job, :worker)
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
