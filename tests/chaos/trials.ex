defmodule Chaos.Trials do
  @moduledoc """
  The same death again and again: the eight threads of a worker are busy and ten more jobs wait when one of the eight kills it.
  Each time one is the culprit, with the evidence, seven are its victims, and the ten do not notice. Killed from outside nobody is
  the culprit: eight had started, and that is all there is to know. And a job that will not stop is got rid of without harm to others.
  """

  alias Chaos.{Judge, Leftovers, Recovery, Signals, Site}

  @checks [
    culprit: "the one that did it is crashed: its worker, the signal, the function in the backtrace",
    victims: "those that ran beside it are lost, and known to have been running",
    waiting: "those that waited are done",
    ended: "one that had just ended is cancelled, or lost on its way",
    stuck: "a job that will not stop is timed out by kill_after, and nothing else fails",
    serves: "the pool serves after each"
  ]

  @ways [
    SIGSEGV: {%{signal: "SEGV"}, "SIGSEGV", "crash_by_null_write"},
    SIGABRT: {%{signal: "ABRT"}, "SIGABRT", "crash_by_abort"},
    "stack overflow": {%{signal: "SEGV", how: "stack"}, "SIGSEGV", "crash_by_recursion"},
    SIGKILL: :outside
  ]

  @pool Chaos.Trials
  @threads 8
  @waiting 10

  # A timed-out job is given up after both.
  @clocks [timeout: 100, kill_after: 100]

  @spec checks() :: keyword(String.t())
  def checks, do: @checks ++ Leftovers.checks()

  @doc "So many trials of each way to die, and a tenth as many of a job that will not stop."
  @spec run(Site.t(), pos_integer) :: [Judge.violation()]
  def run(site, count) do
    signals = Signals.start()
    before = Leftovers.take(site.executable, site.directory)
    {:ok, supervisor} = start_pool(site)
    violations = Enum.flat_map(@ways, &trials(&1, signals, count)) ++ hangs(div(count, 10))
    Site.stop_pool(supervisor)
    left = Leftovers.since(before, site.executable, site.directory)
    Signals.stop(signals)
    violations ++ left
  end

  defp start_pool(site) do
    Stevedore.start_link(
      name: @pool,
      executable: site.executable,
      plugins: [Application.app_dir(:stevedore, "priv/plugins/fault.so")],
      workers: 1,
      threads: @threads,
      quarantine: false
    )
  end

  defp trials({way, how}, signals, count) do
    outcomes = for n <- 1..count//1, do: trial(how, signals, "#{way} #{n}")
    good = Enum.count(outcomes, &(&1 == []))
    IO.puts("#{way}: right in #{good} of #{count} trials")
    Enum.concat(outcomes)
  end

  # Its thread is held by the gate until ten wait behind it.
  defp trial({args, signal, function}, _signals, key) do
    [%{pid: worker}] = Stevedore.info(@pool).workers
    [gate | victims] = occupy(@threads)
    culprit = Stevedore.async(@pool, "fault.crash", args, priority: 0)
    waiting = wait_behind(1 + @waiting)
    :ok = Stevedore.cancel(gate)

    violations(
      key,
      culprit: crashed(Stevedore.await(culprit), worker, signal, function),
      victims: all(victims, &lost/1),
      waiting: done(waiting),
      ended: ended(Stevedore.await(gate))
    )
  end

  defp trial(:outside, signals, key) do
    [%{os_pid: os_pid}] = Stevedore.info(@pool).workers
    victims = occupy(@threads)
    waiting = wait_behind(@waiting)
    :ok = Signals.send(signals, os_pid, :KILL)
    violations(key, victims: all(victims, &lost/1), waiting: done(waiting))
  end

  defp hangs(count) do
    {times, violations} = Enum.unzip(for n <- 1..count//1, do: hang("hang #{n}"))

    if times != [] do
      {least, most} = Enum.min_max(times)
      IO.puts("a job that will not stop: its caller knows after #{least} to #{most} ms")
    end

    Enum.concat(violations)
  end

  defp hang(key) do
    neighbours = for _ <- 1..3, do: Stevedore.async(@pool, "sleep", %{ms: 150})
    {us, result} = :timer.tc(fn -> Stevedore.call(@pool, "fault.hang", %{}, @clocks) end)
    waiting = for n <- 1..@waiting, do: Stevedore.async(@pool, "fault.alloc", %{bytes: n})

    checked = [
      stuck: timed_out(result),
      stuck: all(neighbours, &if(&1 == {:ok, nil}, do: :ok, else: &1)),
      waiting: done(waiting)
    ]

    {div(us, 1_000), violations(key, checked)}
  end

  ## Jobs

  defp occupy(count) do
    jobs = for _ <- 1..count, do: Stevedore.async(@pool, "sleep", %{ms: 60_000}, idempotent: false)
    :ok = Recovery.until(fn -> native("running", count) end)
    jobs
  end

  # Not of an op that is short: those wait for no thread.
  defp wait_behind(count) do
    jobs = for n <- 1..@waiting, do: Stevedore.async(@pool, "fault.alloc", %{bytes: n})
    :ok = Recovery.until(fn -> native("queued", count) end)
    jobs
  end

  defp native(what, count) do
    {:ok, %{workers: workers}} = Stevedore.stats(@pool)
    if Enum.sum(for(w <- workers, do: w.native[what])) == count, do: :ok, else: workers
  end

  ## What is to be seen: `:ok`, or what is instead

  defp crashed({:error, %{kind: :crashed, worker: worker} = error}, worker, signal, function) do
    %{"signal" => died_of, "backtrace" => backtrace} = error.details
    right? = died_of == signal and Enum.any?(backtrace, &String.contains?(&1, function))
    if right?, do: :ok, else: error
  end

  defp crashed(other, _worker, _signal, _function), do: other

  defp lost({:error, %{kind: :lost, details: %{"state" => "running"}}}), do: :ok
  defp lost(other), do: other

  defp ended({:error, %{kind: :cancelled}}), do: :ok
  defp ended({:error, %{kind: :lost, details: %{"state" => "finished"}}}), do: :ok
  defp ended(other), do: other

  defp timed_out({:error, %{kind: :timed_out, details: %{"clock" => "kill_after"}}}), do: :ok
  defp timed_out(other), do: other

  defp done(jobs) do
    results = Enum.map(jobs, &Stevedore.await/1)
    if results == for(n <- 1..length(jobs), do: {:ok, n}), do: :ok, else: results
  end

  defp all(jobs, check) do
    Enum.find(Enum.map(jobs, &check.(Stevedore.await(&1))), :ok, &(&1 != :ok))
  end

  defp violations(key, checked) do
    wrong = for {check, what} <- checked, what != :ok, do: {check, inspect(what)}

    for({check, text} <- wrong, do: %{check: check, key: key, text: text}) ++
      Recovery.serves(@pool)
  end
end
