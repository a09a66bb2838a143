defmodule Demo.Table do
  @moduledoc "Facts in two columns, and numbers as people read them."

  @spec print(String.t(), [{String.t(), String.t()}]) :: :ok
  def print(title, rows) do
    width = rows |> Enum.map(fn {label, _value} -> String.length(label) end) |> Enum.max()
    IO.puts("\n#{title}")

    Enum.each(rows, fn {label, value} ->
      IO.puts("  #{String.pad_trailing(label, width)}  #{value}")
    end)
  end

  @doc "1234567 → 1,234,567"
  @spec count(integer) :: String.t()
  def count(number) do
    number |> Integer.to_string() |> String.replace(~r/(?<=\d)(?=(\d{3})+$)/, ",")
  end

  @spec bytes(integer) :: String.t()
  def bytes(bytes) when bytes < 10_000, do: "#{bytes} B"
  def bytes(bytes) when bytes < 10_000_000, do: "#{round(bytes / 1.0e3)} kB"
  def bytes(bytes) when bytes < 10_000_000_000, do: "#{round(bytes / 1.0e6)} MB"
  def bytes(bytes), do: "#{round(bytes / 1.0e9)} GB"

  @spec rate(integer, integer) :: String.t()
  def rate(bytes, ms), do: "#{round(bytes / 1.0e3 / max(1, ms))} MB/s"

  @spec us(integer) :: String.t()
  def us(us) when us < 1_000, do: "#{us} µs"
  def us(us) when us < 1_000_000, do: "#{Float.round(us / 1.0e3, 1)} ms"
  def us(us), do: "#{Float.round(us / 1.0e6, 2)} s"
end
