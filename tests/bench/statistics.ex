defmodule Bench.Statistics do
  @moduledoc "The two that benchmarks of a shared machine can be told by."

  @spec median([number, ...]) :: number
  def median(values), do: values |> Enum.sort() |> percentile(50)

  @doc "Of values that are sorted: the one that so many percent do not exceed."
  @spec percentile([number, ...], 1..100) :: number
  def percentile(sorted, percent), do: Enum.at(sorted, ceil(length(sorted) * percent / 100) - 1)
end
