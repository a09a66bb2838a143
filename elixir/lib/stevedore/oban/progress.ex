if Code.ensure_loaded?(Oban.Worker) do
  defmodule Stevedore.Oban.Progress do
    @moduledoc false
    # The wait for a native job, with its reports of progress and the clock that runs between them. In the process that
    # started the job.
    #
    # The stall clock is only looked at when it is over. Then the pool says since when the job runs: what waits natively, or
    # runs again because its worker died, has not stalled.

    require Logger

    alias Oban.Job
    alias Stevedore.Error

    # Where the last report is kept, in the process dictionary: the function that is called with it can change nothing else.
    @type t :: {__MODULE__, reference}

    @spec new() :: t
    def new, do: {__MODULE__, make_ref()}

    @doc "A report: for the clock only."
    @spec note(t, {non_neg_integer, non_neg_integer}) :: :ok
    def note(key, done_total) do
      _before = Process.put(key, {now(), done_total})
      :ok
    end

    @doc "A report, for the worker module. What goes wrong there must not end the job."
    @spec report(t, module, Job.t(), {non_neg_integer, non_neg_integer}) :: :ok
    def report(key, worker, job, done_total) do
      worker.handle_progress(done_total, job)
      note(key, done_total)
    catch
      kind, reason ->
        Logger.warning(
          "#{inspect(worker)}.handle_progress/2 of Oban job #{job.id} failed, and its native job goes on: " <>
            Exception.format_banner(kind, reason)
        )

        note(key, done_total)
    end

    @doc "The job's result. With a `stall` in ms it is `:timed_out` after so long without progress."
    @spec await(Stevedore.Job.t(), t, pos_integer | nil) :: {:ok, term} | {:error, Error.t()}
    def await(native, key, stall) do
      result = if stall, do: await(native, key, stall, stall), else: Stevedore.await(native)
      _last = Process.delete(key)
      result
    end

    defp await(native, key, stall, wait) do
      with nil <- Stevedore.yield(native, wait) do
        case stall - silent_for(native, key) do
          left when left > 0 -> await(native, key, stall, left)
          _none -> stalled(native, key, stall)
        end
      end
    end

    # ms since the last report, or since it started if that is less; 0 if it does not run.
    defp silent_for(native, key) do
      case Process.get(key) do
        {at, _done_total} -> min(now() - at, ran_ms(native))
        nil -> ran_ms(native)
      end
    end

    defp ran_ms(%{pool: pool, id: id}) do
      with {:ok, %{workers: workers}} <- Stevedore.stats(pool) do
        jobs = for %{native: %{"jobs" => jobs}} <- workers, job <- jobs, do: job
        Enum.find_value(jobs, 0, &(&1["id"] == id && &1["ran_ms"]))
      else
        {:error, _error} -> 0
      end
    end

    # It may still have been faster.
    defp stalled(native, key, stall) do
      :ok = Stevedore.cancel(native)

      with {:error, %Error{kind: :cancelled} = error} <- Stevedore.await(native) do
        {:error, stall_error(error, stall, Process.get(key))}
      end
    end

    defp stall_error(error, stall, last) do
      message = "no progress for #{stall} ms (stall_timeout)#{last(last)}#{stuck(error)}"

      %{
        error
        | kind: :timed_out,
          message: message,
          details: Map.put(error.details, "clock", "stall_timeout")
      }
    end

    defp last(nil), do: ", it had reported none"
    defp last({_at, {done, 0}}), do: ", it was at #{done}"
    defp last({_at, {done, total}}), do: ", it was at #{done} of #{total}"

    # It did not stop within kill_after either.
    defp stuck(%Error{details: %{"stack" => _stack}, message: message}), do: "; #{message}"
    defp stuck(_error), do: ""

    defp now, do: System.monotonic_time(:millisecond)
  end
end
