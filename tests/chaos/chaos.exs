# Random jobs, random deaths, and a ledger that is kept by the ops themselves: README.md.
#
#     mix run ../tests/chaos/chaos.exs [random] [--seconds N] [--seed S]
#     mix run ../tests/chaos/chaos.exs points [--quick]
#     mix run ../tests/chaos/chaos.exs deaths [--count N] [--seed S]
#     mix run ../tests/chaos/chaos.exs trials [--count N]
#
# With --log it shows what the library logs meanwhile, with --show N that many violations of a check.

for file <-
      ~w(random plan ledger book judge host signals recovery leftovers site caller disturber round points deaths trials report) do
  Code.require_file("#{file}.ex", __DIR__)
end

defmodule Chaos do
  @moduledoc false

  alias Chaos.{Deaths, Judge, Leftovers, Ledger, Points, Recovery, Report, Round, Site, Trials}

  @switches [
    seconds: :integer,
    seed: :integer,
    count: :integer,
    quick: :boolean,
    log: :boolean,
    show: :integer
  ]
  @round_seconds 15

  def main(arguments) do
    {options, mode, []} = OptionParser.parse(arguments, strict: @switches)
    # Workers are killed on purpose here.
    Logger.configure(level: if(options[:log], do: :info, else: :none))
    Process.flag(:trap_exit, true)
    options = Keyword.put_new_lazy(options, :seed, fn -> :rand.uniform(1_000_000_000) end)
    site = Site.open(if(mode == ["points"], do: "STEVEDORE_INJECTED", else: "STEVEDORE"))
    {checks, violations, again} = run_at(site, mode, options)
    unless Report.print(checks, violations, again, options[:show] || 5), do: exit({:shutdown, 1})
  end

  defp run_at(site, mode, options) do
    warm_up(site)
    run(mode, site, options)
  after
    Site.close(site)
  end

  defp run(["points"], site, options) do
    violations = Points.run(site, options[:quick] || false)
    {Points.checks(), violations, "points"}
  end

  defp run(["deaths"], site, options) do
    count = options[:count] || 1_000
    IO.puts("seed #{options[:seed]}, #{count} deaths")
    violations = Deaths.run(site, options[:seed], count)
    {Deaths.checks(), violations, "deaths --count #{count} --seed #{options[:seed]}"}
  end

  defp run(["trials"], site, options) do
    count = options[:count] || 1_000
    violations = Trials.run(site, count)
    {Trials.checks(), violations, "trials --count #{count}"}
  end

  defp run(mode, site, options) when mode in [[], ["random"]] do
    seconds = options[:seconds] || 25
    IO.puts("seed #{options[:seed]}, #{seconds} s")
    outcomes = for {seed, ms} <- rounds(options[:seed], seconds), do: round(site, seed, ms)
    total = outcomes |> Enum.map(& &1.tally) |> Enum.reduce(&Report.add/2)
    IO.puts("in all #{inspect(total)}\n")
    checks = Judge.checks() ++ Round.checks() ++ Leftovers.checks()
    {checks, Enum.flat_map(outcomes, & &1.violations), "what is in [brackets], a round alone"}
  end

  # Of about the same length, each with a pool and a seed of its own.
  defp rounds(seed, seconds) do
    count = max(1, Kernel.round(seconds / @round_seconds))
    for n <- 0..(count - 1), do: {seed + n, div(seconds * 1_000, count)}
  end

  defp round(site, seed, ms) do
    outcome = Round.run(site, seed, ms)

    IO.puts(
      "seed #{seed}: #{inspect(outcome.shape, limit: :infinity)}\n  #{inspect(outcome.tally)}"
    )

    Enum.each(outcome.notes, &IO.puts("  note: #{&1}"))
    again = "--seed #{seed} --seconds #{div(ms, 1_000)}"
    violations = for violation <- outcome.violations, do: Map.put(violation, :where, again)
    %{outcome | violations: violations}
  end

  # What the BEAM opens once and keeps is no leftover; and the two clocks have to be one.
  defp warm_up(site) do
    File.write!(Site.ledger(site), "")
    {:ok, supervisor} = Site.start_pool(site, name: Chaos.WarmUp, workers: 1)
    before = Ledger.now()
    {:ok, "warm_up"} = Stevedore.call(Chaos.WarmUp, "ledger.work", %{key: "warm_up"})
    now = Ledger.now()
    [%{pid: worker}] = Stevedore.info(Chaos.WarmUp).workers
    Process.exit(worker, :kill)
    [] = Recovery.serves(Chaos.WarmUp)
    Site.stop_pool(supervisor)

    for %{at: at} <- Ledger.read(Site.ledger(site)), at < before or at > now do
      raise "the ops' clock is not :os.perf_counter/1: #{before} #{at} #{now}"
    end
  end
end

Chaos.main(System.argv())
