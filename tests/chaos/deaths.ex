defmodule Chaos.Deaths do
  @moduledoc """
  One death after the other, by turns of every sort, half of them with innocent jobs beside the culprit.
  Whoever dies alone is known to be the culprit, if it did it itself; and the BEAM does not grow.
  """

  import Chaos.Random

  alias Chaos.{Book, Host, Judge, Leftovers, Ledger, Plan, Recovery, Signals, Site}

  @checks [
    died_alone: "a job that was alone in a worker that died is crashed",
    deaths: "every job that was to die has started",
    memory: "the memory of the BEAM does not grow",
    serves: "the pool serves after each",
    pool_size: "and has all its workers in the end"
  ]

  # Who sends a signal from outside, or broke the stream some time ago, is not told by being there.
  @unknown ~w(kill garbage)

  @pool Chaos.Deaths
  @workers 2
  @limits %{timeout: 5_000, queue_timeout: 5_000, kill_after: 1_000}

  # The plans and outcomes of one batch are judged and forgotten.
  @batch 50
  @growth_bytes 8_388_608

  @spec checks() :: keyword(String.t())
  def checks, do: @checks ++ Judge.checks() ++ Leftovers.checks()

  @spec run(Site.t(), integer, pos_integer) :: [Judge.violation()]
  def run(site, seed, count) do
    seed(seed, 0)
    signals = Signals.start()
    before = Leftovers.take(site.executable, site.directory)

    options =
      [name: @pool, workers: @workers, threads: 4, quarantine: false] ++ Map.to_list(@limits)

    {:ok, supervisor} = Site.start_pool(site, options)

    batches =
      for from <- 0..(count - 1)//@batch,
          do: batch(site, signals, from, min(@batch, count - from))

    violations = memory(batches) ++ Recovery.whole(@pool, @workers)
    Site.stop_pool(supervisor)
    left = Leftovers.since(before, site.executable, site.directory)
    Signals.stop(signals)
    Enum.flat_map(batches, & &1.violations) ++ violations ++ left
  end

  defp batch(site, signals, from, count) do
    File.write!(Site.ledger(site), "")
    book = Book.open()
    deaths = for n <- 1..count, do: death(site, book, signals, "#{from + n}")
    ledger = Ledger.read(Site.ledger(site))
    started = for %{what: :start, key: key} <- ledger, into: MapSet.new(), do: key

    violations =
      Enum.flat_map(deaths, &judge(&1, started)) ++ Judge.violations(Book.evidence(book, ledger))

    Book.close(book)
    %{violations: violations, bytes: bytes()}
  end

  ## One death

  defp death(site, book, signals, key) do
    fault = pick(["kill" | Plan.deadly()])
    neighbours = pick([0, 3])
    others = for i <- 1..neighbours//1, do: start(book, "#{key}.#{i}", %{ms: between(0, 40)}, nil)
    result = die(fault, site, book, signals, key)
    Enum.each(others, &await(book, &1))
    served = Recovery.serves(@pool)
    %{key: key, fault: fault, alone: neighbours == 0, result: result, served: served}
  end

  # A job to be killed with its worker, as soon as it is known where it is.
  defp die("kill", site, book, signals, key) do
    job = start(book, key, %{ms: 4_000}, nil)
    os_pid = whereabouts(site, key)

    if Host.worker?(os_pid, site.executable) do
      Book.disturbed(book, os_pid, :KILL)
      Signals.send(signals, os_pid, :KILL)
    end

    await(book, job)
  end

  defp die(fault, _site, book, _signals, key) do
    await(book, start(book, key, %{ms: between(0, 10), fault: fault}, fault))
  end

  defp whereabouts(site, key) do
    case Enum.find(Ledger.read(Site.ledger(site)), &(&1.key == key)) do
      nil ->
        Process.sleep(1)
        whereabouts(site, key)

      %{pid: pid} ->
        pid
    end
  end

  defp start(book, key, args, fault) do
    plan = %Plan{key: key, caller: 1, args: Map.put(args, :key, key), fault: fault}
    Book.plan(book, plan)
    since = Ledger.now()
    {plan, since, Stevedore.async(@pool, plan.op, plan.args, plan.options)}
  end

  defp await(book, {plan, since, job}) do
    result = Stevedore.await(job)
    Book.outcome(book, plan, since, Plan.limit_ms(plan, @limits), result)
    result
  end

  ## What is to be seen

  defp judge(death, started) do
    text = "#{death.fault}: #{inspect(death.result)}"

    cond do
      not MapSet.member?(started, death.key) ->
        [%{check: :deaths, key: death.key, text: text}]

      death.alone and death.fault not in @unknown and not crashed?(death.result) ->
        [%{check: :died_alone, key: death.key, text: text}]

      true ->
        []
    end ++ death.served
  end

  defp crashed?({:error, %{kind: :crashed}}), do: true
  defp crashed?(_result), do: false

  defp memory(batches) do
    [first | _] = bytes = Enum.map(batches, & &1.bytes)
    last = List.last(bytes)

    if last > first + @growth_bytes do
      [
        %{
          check: :memory,
          key: nil,
          text: "from #{first} to #{last} bytes: #{inspect(bytes, limit: :infinity)}"
        }
      ]
    else
      []
    end
  end

  defp bytes do
    Enum.each(Process.list(), &:erlang.garbage_collect/1)
    :erlang.memory(:total)
  end
end
