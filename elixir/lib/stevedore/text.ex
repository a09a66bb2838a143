defmodule Stevedore.Text do
  @moduledoc false
  # Times, sizes and numbers for people: at most three digits, and the unit that suits. Pure.

  @doc "Microseconds: `850 µs`, `1.25 ms`, `3.4 s`, `12 min`, `5 h`, `3 d`."
  @spec duration(number) :: String.t()
  def duration(us) when us < 1_000, do: "#{round(us)} µs"
  def duration(us) when us < 999_500, do: three(us / 1_000) <> " ms"
  def duration(us) when us < 120_000_000, do: three(us / 1_000_000) <> " s"
  def duration(us) when us < 7_200_000_000, do: "#{div(round(us), 60_000_000)} min"
  def duration(us) when us < 172_800_000_000, do: "#{div(round(us), 3_600_000_000)} h"
  def duration(us), do: "#{div(round(us), 86_400_000_000)} d"

  @units ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]

  @doc "Bytes: `512 B`, `1.5 KiB`, `3.21 GiB`."
  @spec bytes(non_neg_integer) :: String.t()
  def bytes(bytes), do: scale(bytes, 1024, @units, " ")

  @doc "A number: `999`, `1.2k`, `35.1M`."
  @spec number(number) :: String.t()
  def number(number) when number < 10, do: three(number)
  def number(number), do: scale(round(number), 1000, ["", "k", "M", "G", "T"], "")

  # What would be rounded up to the next unit is given in it.
  defp scale(number, step, [_unit | [_ | _] = units], space) when number >= step - 0.5,
    do: scale(number / step, step, units, space)

  defp scale(number, _step, [unit | _units], space), do: three(number) <> space <> unit

  defp three(number) when is_integer(number), do: Integer.to_string(number)
  defp three(number) when number >= 99.95, do: Integer.to_string(round(number))

  defp three(number) when number >= 9.995,
    do: trim(:erlang.float_to_binary(number / 1, decimals: 1))

  defp three(number), do: trim(:erlang.float_to_binary(number / 1, decimals: 2))

  defp trim(text), do: text |> String.trim_trailing("0") |> String.trim_trailing(".")
end
