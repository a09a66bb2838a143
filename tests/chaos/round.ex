defmodule Chaos.Round do
  @moduledoc """
  A pool, its callers and what disturbs them, for some seconds; then whether it recovers, what it leaves
  behind, and what the ledger says. Everything that is random comes from the round's seed: the pool's
  shape, how much goes wrong, the jobs.
  """

  import Chaos.Random

  alias Chaos.{Book, Caller, Disturber, Judge, Leftovers, Ledger, Recovery, Site}

  @checks [
    stray_message: "no message comes to a caller that it did not wait for",
    monitor_left: "no monitor stays with a caller",
    caller_crashed: "no call raises",
    pool_died: "the pool outlives it all",
    pool_size: "the pool has all its workers again",
    serves: "and serves"
  ]

  # Short, or there would be more waiting than chaos.
  @limits %{timeout: 3_000, queue_timeout: 3_000, kill_after: 250}

  # Options of the pool that may be left out.
  @chosen [:workers, :threads, :max_queue, :max_jobs, :max_age, :max_rss, :kill_rss]

  @mebibyte 1_048_576
  @patience_ms 60_000
  @good_calls 50

  @spec checks() :: keyword(String.t())
  def checks, do: @checks

  @doc "`site`: what is used of the machine (`Chaos.Site`)."
  @spec run(Site.t(), integer, pos_integer) :: %{
          violations: [Judge.violation()],
          tally: map
        }
  def run(site, seed, ms) do
    seed(seed, 0)
    shape = shape()
    File.write!(Site.ledger(site), "")
    book = Book.open()
    before = Leftovers.take(site.executable, site.directory)
    round = start(site, shape, book, seed, ms)
    callers(round, shape.callers)

    recovered = recover(round, Process.alive?(round.supervisor))
    left = Leftovers.since(before, site.executable, site.directory)
    outcome = judge(book, shape, Ledger.read(Site.ledger(site)), recovered ++ left)
    Book.close(book)
    Map.put(outcome, :shape, shape)
  end

  defp shape do
    %{
      workers: between(2, 3),
      threads: between(2, 6),
      callers: between(8, 32),
      every_ms: pick([50, 100, 200, 400]),
      max_queue: weighted([{3, nil}, {1, between(4, 40)}]),
      max_jobs: weighted([{3, nil}, {1, between(50, 500)}]),
      max_age: weighted([{3, nil}, {1, between(300, 3_000)}]),
      max_rss: weighted([{3, nil}, {1, 32 * @mebibyte}]),
      kill_rss: weighted([{3, nil}, {1, 64 * @mebibyte}]),
      rates: %{deadly: pick([0.1, 0.5, 2]), stuck: pick([0, 0.05, 0.2]), wrong: 4}
    }
  end

  defp start(site, shape, book, seed, ms) do
    pool = Chaos.Pool

    chosen =
      for {key, value} <- Map.take(shape, @chosen),
          value,
          do: {key, value}

    {:ok, supervisor} = Site.start_pool(site, [name: pool] ++ Map.to_list(@limits) ++ chosen)

    Map.merge(shape, %{
      pool: pool,
      supervisor: supervisor,
      book: book,
      seed: seed,
      limits: @limits,
      executable: site.executable,
      until: System.monotonic_time(:millisecond) + ms
    })
  end

  ## Its callers

  defp callers(round, count) do
    disturber = Disturber.start(round)

    monitors =
      Map.new([{elem(disturber, 1), :disturber} | Enum.map(1..count, &caller(round, &1))])

    wait(round, monitors, count + 1)
  end

  defp caller(round, index) do
    {_pid, monitor} = Caller.start(round, index)
    {monitor, index}
  end

  # Who is killed is replaced, as long as there is time: after it, a new one ends at once.
  defp wait(_round, monitors, _next) when monitors == %{}, do: :ok

  defp wait(round, monitors, next) do
    receive do
      {:DOWN, monitor, :process, _pid, :normal} when is_map_key(monitors, monitor) ->
        wait(round, Map.delete(monitors, monitor), next)

      {:DOWN, monitor, :process, _pid, reason} when is_map_key(monitors, monitor) ->
        {who, monitors} = Map.pop(monitors, monitor)
        fallen(round.book, who, reason)
        {monitor, index} = caller(round, next)
        wait(round, Map.put(monitors, monitor, index), next + 1)
    after
      @patience_ms -> give_up(round, monitors)
    end
  end

  defp fallen(_book, _who, :killed), do: :ok

  defp fallen(book, who, reason) do
    Book.killed(book, who)
    Book.violation(book, :caller_crashed, "#{inspect(who)}: #{Exception.format_exit(reason)}")
  end

  # What they waited for shows as having no outcome.
  defp give_up(round, monitors) do
    waiting = Map.values(monitors)

    for {pid, index} <- Book.callers(round.book), index in waiting do
      Book.note(
        round.book,
        "caller #{index} still waits: #{inspect(Process.info(pid, :current_stacktrace))}"
      )

      Process.exit(pid, :kill)
    end
  end

  ## Afterwards

  defp recover(round, true) do
    recovered =
      Recovery.serves(round.pool, @good_calls) ++ Recovery.whole(round.pool, round.workers)

    Site.stop_pool(round.supervisor)
    recovered
  end

  defp recover(_round, false), do: [%{check: :pool_died, key: nil, text: "see it with --log"}]

  # A full queue may refuse a job its second run.
  defp judge(book, shape, ledger, others) do
    evidence = Book.evidence(book, ledger)
    evidence = if shape.max_queue, do: %{evidence | rerun_ms: 0}, else: evidence
    violations = Book.violations(book) ++ others ++ Judge.violations(evidence)
    %{violations: violations, tally: tally(evidence, book), notes: Book.notes(book)}
  end

  defp tally(evidence, book) do
    starts = Enum.filter(evidence.ledger, &(&1.what == :start))

    %{
      jobs: length(evidence.plans),
      starts: length(starts),
      workers: starts |> Enum.uniq_by(& &1.pid) |> length(),
      outcomes: Enum.frequencies_by(Enum.concat(Map.values(evidence.outcomes)), &kind/1),
      disturbances: Enum.frequencies_by(Book.disturbances(book), &elem(&1, 1)),
      started: starts |> Enum.frequencies_by(& &1.key) |> Map.values() |> Enum.frequencies()
    }
  end

  defp kind(%{result: {:ok, _value}}), do: :ok
  defp kind(%{result: {:error, error}}), do: error.kind
end
