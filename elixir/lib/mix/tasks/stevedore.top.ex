defmodule Mix.Tasks.Stevedore.Top do
  @shortdoc "Shows live what the pools of a node do"

  @moduledoc """
  Shows live what the pools of a node do: pools with their rates and latencies, workers, what runs on their threads since when
  and for whom, and who has died of what.

      mix stevedore.top [NODE] [options]

      mix stevedore.top app@host --cookie secret
      mix stevedore.top                            # the only node of this machine that has pools
      mix stevedore.top app | tee pools.log        # plain lines where there is no terminal

  NODE is the name of a running node with distribution; without a host, this machine's. This VM connects to it as a hidden node that
  listens to nobody, and asks for `Stevedore.stats/1`. It costs the pools nothing that could be measured.

    * `--cookie COOKIE`: that of the node; else that of this machine (`~/.erlang.cookie`)
    * `--interval MS`: from 250 to 60000, default 1000
    * `--count N`: ends after so many samples
    * `--plain`: lines also in a terminal

  Keys: `q` quits, `p` pauses, `s` changes what workers and jobs are sorted by (pool, load, memory, age), `+` and `-` change
  the interval.

  RUN is jobs that run, QUEUE those that wait in a worker, WAIT those without a worker. JOBS/S (those that came to a value), ERR/S, P50 and
  P99 of the run, and WAITED (for a thread, on average) are of the time since the picture before; the percentiles are the upper
  ends of steps of 1-2-5.
  """

  use Mix.Task

  alias Stevedore.Top.{Connection, Loop}

  @switches [cookie: :string, interval: :integer, count: :integer, plain: :boolean]

  @impl true
  def run(args) do
    {options, name} = parse!(args)
    interval = Keyword.get(options, :interval, 1_000)

    unless interval in 250..60_000,
      do: Mix.raise("--interval is ms from 250 to 60000, got: #{interval}")

    Mix.Task.run("compile", [])

    case Connection.connect(name, options[:cookie]) do
      {:ok, node} -> Loop.run(node, loop_options(options))
      {:error, text} -> Mix.raise(text)
    end
  end

  defp parse!(args) do
    case OptionParser.parse(args, strict: @switches) do
      {options, [], []} ->
        {options, nil}

      {options, [name], []} ->
        {options, name}

      {_options, _names, [{option, _value} | _]} ->
        Mix.raise("wrong option #{option}: see mix help stevedore.top")

      {_options, _names, []} ->
        Mix.raise("one node at a time: mix stevedore.top [NODE]")
    end
  end

  defp loop_options(options) do
    %{
      interval: Keyword.get(options, :interval, 1_000),
      count: Keyword.get(options, :count, :infinity),
      plain: Keyword.get(options, :plain, false)
    }
  end
end
