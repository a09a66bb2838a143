if Code.ensure_loaded?(Oban.Worker) do
  defmodule Stevedore.Oban.Telemetry do
    @moduledoc """
    Which native job is which Oban job: events, and the metadata of log lines.

    | event | measurements | metadata |
    |---|---|---|
    | `[:stevedore, :oban, :start]` | `system_time`, `monotonic_time` | see below |
    | `[:stevedore, :oban, :stop]` | `duration`, `monotonic_time` | the same, and `result`: `:ok`, `:snooze`, `:error`, `:cancel`; `error`: the `Stevedore.Error`, or `nil` |

    Both sides' names are in the metadata:

      * Stevedore's: `pool`, `op`, `job` (the reference that the `[:stevedore, :job, …]` events carry) and `native_id` (the number that
        native logs and black boxes name)
      * Oban's: `oban_name`, `oban_job_id`, `oban_worker`, `oban_queue`, `oban_attempt`

    They are emitted in the job's own process. A job whose process is killed (`Oban.cancel_job/1`, `timeout/1`, shutdown) has no `:stop`
    here: the end is Oban's to tell, `[:oban, :job, :stop]` or `[:oban, :job, :exception]`, and Stevedore's, a
    `[:stevedore, :job, :exception]` of kind `:cancelled` that the worker's process emits. Times are in native units.

        :telemetry.attach("who runs what", [:stevedore, :oban, :start], fn _event, _measurements, metadata, _config ->
          IO.puts("Oban job \#{metadata.oban_job_id} is native job \#{metadata.native_id} in \#{inspect(metadata.pool)}")
        end, nil)

    While a job runs, log lines of its process carry `oban_job_id`, `oban_worker`, `oban_queue`, `oban_attempt` and
    `stevedore_job` (the `native_id`). What Oban stores of an error names the native job, too.
    """

    alias Oban.Job

    @doc false
    @spec metadata(Job.t(), Stevedore.Job.t()) :: map
    def metadata(%Job{} = job, native) do
      %{
        pool: native.pool,
        op: native.op,
        job: native.ref,
        native_id: native.id,
        oban_name: job.conf && job.conf.name,
        oban_job_id: job.id,
        oban_worker: job.worker,
        oban_queue: job.queue,
        oban_attempt: job.attempt
      }
    end

    @doc false
    @spec log_metadata(map) :: keyword
    def log_metadata(metadata) do
      [stevedore_job: metadata.native_id] ++
        for key <- [:oban_job_id, :oban_worker, :oban_queue, :oban_attempt],
            do: {key, metadata[key]}
    end

    @doc false
    @spec start(map) :: :ok
    def start(metadata) do
      measurements = %{system_time: System.system_time(), monotonic_time: System.monotonic_time()}
      :telemetry.execute([:stevedore, :oban, :start], measurements, metadata)
    end

    @doc false
    @spec stop(map, started_at :: integer, atom, Stevedore.Error.t() | nil) :: :ok
    def stop(metadata, started_at, result, error) do
      now = System.monotonic_time()
      measurements = %{duration: now - started_at, monotonic_time: now}

      :telemetry.execute(
        [:stevedore, :oban, :stop],
        measurements,
        Map.merge(metadata, %{result: result, error: error})
      )
    end
  end
end
