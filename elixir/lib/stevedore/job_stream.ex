defmodule Stevedore.JobStream do
  @moduledoc false
  # `Stevedore.async_stream/5`: a job per element, a bounded number of them in flight, all owned by the
  # process that runs the stream. There are no other processes: a job needs none.
  #
  # The input is followed by an endless run of `:finish`, so that one step function both starts jobs
  # and collects the last of them.

  #
  # As they finish, results are taken from whatever job has one. Then nobody waits for one job in particular, so all of
  # them are looked after now and then, however many results come meanwhile.

  alias Stevedore.{Caller, Job, Search}

  @type start :: (term -> Job.t())

  # ms between two looks after jobs.
  @look_every 1_000

  # `look_at`: when, in the clock's own unit.
  @enforce_keys [:look_at]
  defstruct [:look_at, jobs: :queue.new()]

  @spec new(Enumerable.t(), pos_integer, boolean, start) :: Enumerable.t()
  def new(enumerable, max_concurrency, ordered?, start) do
    take = if ordered?, do: &take_oldest/1, else: &take_any/1

    enumerable
    |> Stream.map(&{:start, &1})
    |> Stream.concat(Stream.repeatedly(fn -> :finish end))
    |> Stream.transform(
      fn -> look_later(%__MODULE__{look_at: nil}) end,
      &step(&1, &2, max_concurrency, start, take),
      &abandon_all/1
    )
  end

  defp step({:start, element}, stream, max_concurrency, start, take) do
    if :queue.len(stream.jobs) < max_concurrency do
      {[], add(start.(element), stream)}
    else
      {result, stream} = take.(stream)
      {[result], add(start.(element), stream)}
    end
  end

  defp step(:finish, stream, _max_concurrency, _start, take) do
    if :queue.is_empty(stream.jobs) do
      {:halt, stream}
    else
      {result, stream} = take.(stream)
      {[result], stream}
    end
  end

  defp take_oldest(stream) do
    {{:value, job}, jobs} = :queue.out(stream.jobs)
    {Caller.await(job), %{stream | jobs: jobs}}
  end

  # Settled jobs first: no message will come for them.
  defp take_any(stream) do
    case Enum.find(:queue.to_list(stream.jobs), & &1.outcome) do
      nil -> stream.jobs |> by_ref() |> wait_for_any(stream)
      settled -> {settled.outcome, remove(settled, stream)}
    end
  end

  defp wait_for_any(by_ref, stream) do
    case Caller.left(stream.look_at) do
      0 -> look_after_all(by_ref, stream)
      left -> receive_any(by_ref, stream, left)
    end
  end

  defp receive_any(by_ref, stream, left) do
    receive do
      {ref, _} = message when is_map_key(by_ref, ref) ->
        take(by_ref[ref], message, by_ref, stream)

      {:DOWN, monitor, :process, _pid, _reason} = message when is_map_key(by_ref, monitor) ->
        take(by_ref[monitor], message, by_ref, stream)
    after
      by_ref |> Map.values() |> Caller.next_look() |> min(left) -> look_after_all(by_ref, stream)
    end
  end

  defp take(job, message, by_ref, stream) do
    case Caller.handle(job, message) do
      :progress -> wait_for_any(by_ref, stream)
      result -> {result, remove(job, stream)}
    end
  end

  # Where one was found there may be more: the next look is at once then.
  defp look_after_all(by_ref, stream) do
    settled =
      Enum.find_value(by_ref, fn {_ref, job} ->
        case look_after(job) do
          :waiting -> nil
          result -> {result, job}
        end
      end)

    case settled do
      nil -> wait_for_any(by_ref, look_later(stream))
      {result, job} -> {result, remove(job, stream)}
    end
  end

  # What has come in time counts, however late it is taken.
  defp look_after(job) do
    if Caller.overdue?(job) and not Search.arrived?(job),
      do: Caller.give_up(job),
      else: Caller.look_after(job)
  end

  defp look_later(stream) do
    every = System.convert_time_unit(@look_every, :millisecond, :native)
    %{stream | look_at: System.monotonic_time() + every}
  end

  defp by_ref(jobs), do: Enum.reduce(:queue.to_list(jobs), %{}, &put_refs/2)

  defp put_refs(%Job{remote: nil} = job, by_ref), do: Map.put(by_ref, job.ref, job)

  # Replies come to the one, the end of its node to the other.
  defp put_refs(%Job{remote: %{monitor: monitor}} = job, by_ref) do
    by_ref |> Map.put(job.ref, job) |> Map.put(monitor, job)
  end

  defp add(job, stream), do: %{stream | jobs: :queue.in(job, stream.jobs)}

  defp remove(%Job{ref: ref}, stream),
    do: %{stream | jobs: :queue.filter(&(&1.ref != ref), stream.jobs)}

  defp abandon_all(stream), do: stream.jobs |> :queue.to_list() |> Enum.each(&Caller.abandon/1)
end
