defmodule Bench.Machine do
  @moduledoc """
  What the benchmarks run on, and how much of it others used meanwhile: with two busy neighbours a ratio says
  little. Linux only; elsewhere the share is not known.
  """

  @type usage :: {all :: integer, busy :: integer, own :: integer} | nil

  @spec describe() :: map
  def describe do
    %{
      processors: System.schedulers_online(),
      otp: System.otp_release(),
      elixir: System.version(),
      system: to_string(:erlang.system_info(:system_architecture))
    }
  end

  @doc "The share of all processors' time that others used while `fun` ran, and what it returned."
  @spec shared(pids :: [pos_integer], (-> value)) :: {float | nil, value} when value: term
  def shared(pids, fun) do
    before = usage(pids)
    value = fun.()
    {share(before, usage(pids)), value}
  end

  defp share({all, busy, own}, {later_all, later_busy, later_own}) do
    max(0.0, (later_busy - busy - (later_own - own)) / max(1, later_all - all))
  end

  defp share(_unknown, _either), do: nil

  # In clock ticks, of all processors (proc(5), /proc/stat) and of these processes and the BEAM.
  defp usage(pids) do
    with {:ok, stat} <- File.read("/proc/stat") do
      ["cpu" | ticks] = stat |> String.split("\n") |> hd() |> String.split()
      ticks = ticks |> Enum.take(8) |> Enum.map(&String.to_integer/1)
      idle = Enum.at(ticks, 3) + Enum.at(ticks, 4)
      {Enum.sum(ticks), Enum.sum(ticks) - idle, Enum.sum_by([System.pid() | pids], &own/1)}
    else
      {:error, _reason} -> nil
    end
  end

  # utime and stime are the 12th and 13th field behind the command's name, which may have spaces.
  defp own(pid) do
    fields = "/proc/#{pid}/stat" |> File.read!() |> String.split(") ") |> List.last()
    fields |> String.split() |> Enum.slice(11, 2) |> Enum.sum_by(&String.to_integer/1)
  end
end
