# `./dev bench [--quick] [--check] [--json FILE]`: Stevedore against two baselines, in the same run.
#
#   --quick      a third of the time; for a look, not for a claim
#   --check      exit code 1 if a target is missed
#   --json FILE  writes all that was measured to FILE

for file <-
      ~w(statistics machine load classic bare subjects throughput killer restart soak report) do
  Code.require_file("#{file}.ex", __DIR__)
end

defmodule Bench do
  alias Bench.{Machine, Report, Restart, Soak, Subject, Throughput}

  @switches [quick: :boolean, check: :boolean, json: :string]
  @full %{rounds: 15, ms: 200, samples: 15}
  @quick %{rounds: 5, ms: 150, samples: 5}

  def main(arguments) do
    options = options(arguments)
    # Workers are killed on purpose here.
    Logger.configure(level: :critical)
    worker = Application.app_dir(:stevedore, "priv/stevedore")
    subjects = Subject.all(worker, build_echo_port())
    outcome = measure(subjects, if(options[:quick], do: @quick, else: @full))
    Report.print(outcome, subjects)
    if options[:json], do: Report.write_json(outcome, options[:json])
    if options[:check] && Enum.any?(outcome.targets, &(not &1.met)), do: exit({:shutdown, 1})
  end

  defp options(arguments) do
    case OptionParser.parse(arguments, strict: @switches) do
      {options, [], []} -> options
      _wrong -> give_up("usage: ./dev bench [--quick] [--check] [--json FILE]")
    end
  end

  defp build_echo_port do
    source = Path.join(__DIR__, "echo_port.c")
    target = Path.join(Mix.Project.build_path(), "bench_echo_port")
    flags = ["-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-o", target, source]

    case System.cmd(System.get_env("CC", "cc"), flags, stderr_to_stdout: true) do
      {_output, 0} -> target
      {output, _status} -> give_up("echo_port.c was not compiled:\n#{output}")
    end
  end

  defp measure(subjects, size) do
    say("starting and killing")
    restarts = Restart.run(subjects, size.samples)
    supervisors = Enum.map(subjects, & &1.start.())
    pids = Enum.flat_map(subjects, & &1.os_pids.())
    run = fn -> Throughput.run(subjects, size.rounds, size.ms, &say/1) end
    {others, throughput} = Machine.shared(pids, run)
    say("100,000 checked calls")
    soaks = for %{key: key} = one <- subjects, key != :bare, do: Soak.run(one)
    Enum.each(supervisors, &Supervisor.stop/1)

    %{
      machine: Machine.describe(),
      others: others,
      size: size,
      throughput: throughput,
      restarts: restarts,
      soaks: soaks,
      targets: Report.targets(throughput, soaks)
    }
  end

  defp say(text), do: IO.puts(:stderr, "measuring: #{text}")

  defp give_up(message) do
    IO.puts(:stderr, message)
    exit({:shutdown, 1})
  end
end

Bench.main(System.argv())
