if Code.ensure_loaded?(Oban.Worker) do
  defmodule Stevedore.Oban.Run do
    @moduledoc false
    # One run of an Oban job, in the job's own process. It traps no exit and keeps nothing that would have to be
    # cleaned up: whoever ends this process (Oban.cancel_job/1, timeout/1, shutdown) ends the native job, because the
    # pool watches its callers.

    require Logger

    alias Oban.Job
    alias Stevedore.Oban.{Failure, Outcome, Progress, Telemetry}

    @spec perform(module, Job.t()) :: Oban.Worker.result()
    def perform(worker, %Job{} = job) do
      settings = worker.__stevedore__()
      {native, progress} = start(worker, job, settings)
      metadata = Telemetry.metadata(job, native)
      before = Logger.metadata()
      Logger.metadata(Telemetry.log_metadata(metadata))
      Telemetry.start(metadata)

      try do
        native
        |> Progress.await(progress, settings.stall_timeout)
        |> conclude(worker, job, native, metadata)
      after
        Logger.reset_metadata(before)
      end
    catch
      kind, reason -> :erlang.raise(kind, reason, Enum.map(__STACKTRACE__, &without_arguments/1))
    end

    # Oban stores stack traces. Arguments in them would be the job's, or the op's result.
    defp without_arguments({module, function, arguments, location}) when is_list(arguments),
      do: {module, function, length(arguments), location}

    defp without_arguments(entry), do: entry

    defp start(worker, job, settings) do
      progress = Progress.new()
      options = worker.call(job) ++ on_progress(worker, job, settings, progress)
      {Stevedore.async(worker.pool(job), worker.op(job), worker.args(job), options), progress}
    end

    # Progress costs messages: only where somebody wants to know.
    defp on_progress(worker, job, settings, progress) do
      wanted? = function_exported?(worker, :handle_progress, 2)

      cond do
        wanted? -> [on_progress: &Progress.report(progress, worker, job, {&1, &2})]
        settings.stall_timeout -> [on_progress: &Progress.note(progress, {&1, &2})]
        true -> []
      end
    end

    defp conclude({:ok, value}, worker, job, native, metadata) do
      Telemetry.stop(metadata, native.started_at, :ok, nil)
      worker.handle_result(value, job)
    end

    defp conclude({:error, error}, worker, job, native, metadata) do
      result = error |> worker.handle_error(job) |> outcome(error, job, native)
      Telemetry.stop(metadata, native.started_at, word(result), error)
      result
    end

    # What is no action is what Oban is to be told.
    defp outcome(action, error, job, native) do
      if action in [:error, :cancel] or match?({:snooze, options} when is_list(options), action) do
        action |> Outcome.decide(error, snoozed(job), :rand.uniform()) |> result(error, native)
      else
        action
      end
    end

    defp snoozed(%Job{meta: %{"snoozed" => count}}) when is_integer(count), do: count
    defp snoozed(_job), do: 0

    defp result({:snooze, seconds}, _error, _native), do: {:snooze, seconds}
    defp result({:error, note}, error, native), do: {:error, Failure.new(error, native.id, note)}
    defp result(:error, error, native), do: {:error, Failure.new(error, native.id)}
    defp result(:cancel, error, native), do: {:cancel, Failure.new(error, native.id)}

    defp word(result) when is_tuple(result), do: elem(result, 0)
    defp word(result), do: result
  end
end
