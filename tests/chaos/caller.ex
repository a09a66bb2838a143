defmodule Chaos.Caller do
  @moduledoc """
  A process that calls the pool in every way there is until the time is up, and notes what it is told.
  Then nothing may be left with it: no message, no monitor.
  """

  import Chaos.Random

  alias Chaos.{Book, Ledger, Plan}

  @ways [
    {40, :call},
    {15, :await},
    {10, :yield},
    {10, :cancel},
    {10, :batch},
    {10, :stream},
    {5, :broken_off_stream}
  ]

  @most_jobs 30
  @harmless %{deadly: 0, stuck: 0, wrong: 0}

  @doc "`round`: `pool`, `book`, `seed`, `rates`, `limits` and `until`, in ms of System.monotonic_time."
  @spec start(map, integer) :: {pid, reference}
  def start(round, index) do
    spawn_monitor(fn ->
      Book.caller(round.book, self(), index)
      seed(round.seed, index)
      go_on(Map.put(round, :index, index), 0)
    end)
  end

  defp go_on(round, count) do
    if System.monotonic_time(:millisecond) < round.until do
      act(weighted(@ways), Map.put(round, :count, count))
      # Or else those that are refused at once would be nearly all.
      if chance(0.2), do: Process.sleep(between(1, 20))
      go_on(round, count + 1)
    else
      look_around(round)
    end
  end

  ## The ways

  defp act(:call, round) do
    one(round, draw(round), &Stevedore.call(round.pool, &1.op, &1.args, &1.options))
  end

  defp act(:await, round), do: one(round, draw(round), &Stevedore.await(async(round, &1)))
  defp act(:yield, round), do: one(round, draw(round), &yield(async(round, &1)))

  defp act(:cancel, round) do
    plan = %{draw(round) | cancel_after: pick([0, between(0, 30)])}

    one(round, plan, fn plan ->
      job = async(round, plan)
      Process.sleep(plan.cancel_after)
      :ok = Stevedore.cancel(job)
      Stevedore.await(job)
    end)
  end

  defp act(:batch, round) do
    plans = for n <- 1..between(2, @most_jobs), do: draw(round, n)
    since = begin(round, plans)
    jobs = for plan <- plans, do: {plan, async(round, plan)}

    for {plan, job} <- Enum.shuffle(jobs) do
      Book.outcome(round.book, plan, since, limit_ms(round, plans), Stevedore.await(job))
    end
  end

  defp act(:stream, round), do: stream(round, between(2, @most_jobs), @most_jobs)

  defp act(:broken_off_stream, round),
    do: stream(round, between(2, @most_jobs), between(1, @most_jobs))

  # All plans of a stream are called alike, and some may be none that anybody waits for.
  defp stream(round, count, taken) do
    model = Plan.draw("", round.index, @harmless)
    plans = for n <- 1..count, do: Plan.like(draw(round, n), model)
    since = begin(round, plans)
    Enum.each(Enum.drop(plans, taken), &Book.abandoned(round.book, &1))
    options = [max_concurrency: between(1, count)] ++ model.options

    round.pool
    |> Stevedore.async_stream(plans, model.op, & &1.args, options)
    |> Enum.zip_with(Enum.take(plans, taken), fn result, plan ->
      Book.outcome(round.book, plan, since, limit_ms(round, plans), result)
    end)
  end

  defp one(round, plan, fun) do
    since = begin(round, [plan])
    Book.outcome(round.book, plan, since, limit_ms(round, [plan]), fun.(plan))
  end

  defp draw(round, n \\ 0) do
    Plan.draw("#{round.index}.#{round.count}.#{n}", round.index, round.rates)
  end

  defp begin(round, plans) do
    Enum.each(plans, &Book.plan(round.book, &1))
    Ledger.now()
  end

  # One after the other, at worst.
  defp limit_ms(round, plans), do: Enum.sum_by(plans, &Plan.limit_ms(&1, round.limits))

  defp async(round, plan), do: Stevedore.async(round.pool, plan.op, plan.args, plan.options)

  defp yield(job), do: Stevedore.yield(job, between(0, 20)) || yield(job)

  ## The end

  defp look_around(%{book: book, index: index}) do
    {:messages, messages} = Process.info(self(), :messages)
    {:monitors, monitors} = Process.info(self(), :monitors)

    if messages != [],
      do: Book.violation(book, :stray_message, "caller #{index}: #{inspect(messages)}")

    if monitors != [],
      do: Book.violation(book, :monitor_left, "caller #{index}: #{inspect(monitors)}")
  end
end
