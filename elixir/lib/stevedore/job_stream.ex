defmodule Stevedore.JobStream do
  @moduledoc false
  # `Stevedore.async_stream/5`: a job per element, a bounded number of them in flight, all owned by the
  # process that runs the stream. There are no other processes: a job needs none.
  #
  # The input is followed by an endless run of `:finish`, so that one step function both starts jobs
  # and collects the last of them.

  alias Stevedore.{Caller, Job}

  @type start :: (term -> Job.t())

  @spec new(Enumerable.t(), pos_integer, boolean, start) :: Enumerable.t()
  def new(enumerable, max_concurrency, ordered?, start) do
    take = if ordered?, do: &take_oldest/1, else: &take_any/1

    enumerable
    |> Stream.map(&{:start, &1})
    |> Stream.concat(Stream.repeatedly(fn -> :finish end))
    |> Stream.transform(
      fn -> :queue.new() end,
      &step(&1, &2, max_concurrency, start, take),
      &abandon_all/1
    )
  end

  defp step({:start, element}, jobs, max_concurrency, start, take) do
    if :queue.len(jobs) < max_concurrency do
      {[], :queue.in(start.(element), jobs)}
    else
      {result, jobs} = take.(jobs)
      {[result], :queue.in(start.(element), jobs)}
    end
  end

  defp step(:finish, jobs, _max_concurrency, _start, take) do
    if :queue.is_empty(jobs) do
      {:halt, jobs}
    else
      {result, jobs} = take.(jobs)
      {[result], jobs}
    end
  end

  defp take_oldest(jobs) do
    {{:value, job}, jobs} = :queue.out(jobs)
    {Caller.await(job), jobs}
  end

  # Settled jobs first: no message will come for them.
  defp take_any(jobs) do
    case Enum.find(:queue.to_list(jobs), & &1.outcome) do
      nil -> jobs |> by_ref() |> receive_any(jobs)
      settled -> {settled.outcome, remove(settled, jobs)}
    end
  end

  defp receive_any(by_ref, jobs) do
    receive do
      {ref, _} = message when is_map_key(by_ref, ref) ->
        take(by_ref[ref], message, by_ref, jobs)

      {:DOWN, monitor, :process, _pid, _reason} = message when is_map_key(by_ref, monitor) ->
        take(by_ref[monitor], message, by_ref, jobs)
    after
      by_ref |> Map.values() |> Caller.next_look() -> look_after_all(by_ref, jobs)
    end
  end

  defp take(job, message, by_ref, jobs) do
    case Caller.handle(job, message) do
      :progress -> receive_any(by_ref, jobs)
      result -> {result, remove(job, jobs)}
    end
  end

  defp look_after_all(by_ref, jobs) do
    settled =
      Enum.find_value(by_ref, fn {_ref, job} ->
        case if(Caller.overdue?(job), do: Caller.give_up(job), else: Caller.look_after(job)) do
          :waiting -> nil
          result -> {result, job}
        end
      end)

    case settled do
      nil -> receive_any(by_ref, jobs)
      {result, job} -> {result, remove(job, jobs)}
    end
  end

  defp by_ref(jobs), do: Enum.reduce(:queue.to_list(jobs), %{}, &put_refs/2)

  defp put_refs(%Job{remote: nil} = job, by_ref), do: Map.put(by_ref, job.ref, job)

  # Replies come to the one, the end of its node to the other.
  defp put_refs(%Job{remote: %{monitor: monitor}} = job, by_ref) do
    by_ref |> Map.put(job.ref, job) |> Map.put(monitor, job)
  end

  defp remove(%Job{ref: ref}, jobs), do: :queue.filter(&(&1.ref != ref), jobs)

  defp abandon_all(jobs), do: jobs |> :queue.to_list() |> Enum.each(&Caller.abandon/1)
end
