defmodule Chaos.Leftovers do
  @moduledoc "What a pool may not leave behind: all that can be counted before it starts and after it has stopped."

  alias Chaos.Host

  @checks [
    process_left: "no worker's OS process is left",
    zombie_left: "and no zombie",
    beam_process_left: "no process of the BEAM",
    port_left: "no port",
    ets_left: "no ETS table",
    persistent_term_left: "no persistent term",
    file_left: "no file, black boxes included",
    descriptor_left: "no descriptor"
  ]

  @type snapshot :: %{atom => MapSet.t()}

  @spec checks() :: keyword(String.t())
  def checks, do: @checks

  @doc "`directory` is where the pool's files are made."
  @spec take(Path.t(), Path.t()) :: snapshot
  def take(executable, directory) do
    %{
      process_left: MapSet.new(Host.workers(executable), & &1.pid),
      zombie_left: MapSet.new(Host.zombies()),
      beam_process_left: MapSet.new(Process.list()),
      port_left: MapSet.new(Port.list()),
      ets_left: MapSet.new(:ets.all()),
      persistent_term_left: persistent_terms(),
      file_left: MapSet.new(Path.wildcard(Path.join(directory, "**"), match_dot: true)),
      descriptor_left: descriptors()
    }
  end

  # The logger keeps one for each module that it has looked at.
  defp persistent_terms do
    for {key, _value} <- :persistent_term.get(),
        not match?({:logger_config, _module}, key),
        into: MapSet.new(),
        do: key
  end

  # Numbers are used again, and so say nothing: the first, second … of what they stand for.
  defp descriptors do
    for {what, all} <- Enum.group_by(Host.descriptors(), &kind/1),
        n <- 1..length(all),
        into: MapSet.new(),
        do: {what, n}
  end

  defp kind(descriptor), do: String.replace(descriptor, ~r/:\[\d+\]|\d+/, "")

  @doc "Violations for what is there that was not there before, once it does not get less."
  @spec since(snapshot, Path.t(), Path.t()) :: [Chaos.Judge.violation()]
  def since(before, executable, directory) do
    case Chaos.Recovery.until(fn -> nothing(compare(before, take(executable, directory))) end) do
      :ok -> []
      violations -> violations
    end
  end

  defp nothing([]), do: :ok
  defp nothing(violations), do: violations

  defp compare(before, now) do
    for {check, _meaning} <- @checks,
        more = MapSet.difference(now[check], before[check]),
        MapSet.size(more) > 0 do
      %{check: check, key: nil, text: more |> Enum.map_join("\n  ", &describe(check, &1))}
    end
  end

  defp describe(:beam_process_left, pid),
    do:
      "#{inspect(pid)} #{inspect(Process.info(pid, [:label, :initial_call, :dictionary, :current_function]))}"

  defp describe(:port_left, port), do: "#{inspect(port)} #{inspect(Port.info(port))}"
  defp describe(:ets_left, table), do: inspect(:ets.info(table))
  defp describe(_check, what), do: inspect(what)
end
