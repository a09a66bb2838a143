defmodule Stevedore.Top.Row do
  @moduledoc false
  # Rows of tables, and text that fits a terminal and cannot command it. Pure.

  alias Stevedore.Top.View

  @typedoc "Heading, width (negative: to the left; `:name`: that of the longest pool), and whether it is only in a wide terminal."
  @type column :: {String.t(), integer | :name, :always | :wide}

  @doc "The cells of the first row."
  @spec headings([column]) :: [String.t()]
  def headings(columns), do: for({heading, _width, _there} <- columns, do: heading)

  @doc "A row of a table; in a narrow terminal without the columns that are only for wide ones."
  @spec row(View.style(), [String.Chars.t()], [column], View.t()) :: View.line()
  def row(style, cells, columns, view) do
    text =
      Enum.zip(cells, columns)
      |> Enum.reject(fn {_cell, {_heading, _width, there}} ->
        there == :wide and not wide?(view)
      end)
      |> Enum.map_join(if(wide?(view), do: "  ", else: " "), fn {cell, {_heading, width, _there}} ->
        pad(to_string(cell), width, view)
      end)

    {style, String.trim_trailing(text)}
  end

  defp wide?(view), do: view.width >= 120

  defp pad(text, :name, view), do: pad(text, -name_width(view), view)

  defp pad(text, width, _view) when width < 0 do
    text |> clean() |> clip(-width) |> String.pad_trailing(min(-width, 40))
  end

  defp pad(text, width, _view), do: text |> clip(width) |> String.pad_leading(width)

  # As long as the longest name, if there is room.
  defp name_width(view) do
    longest = view.now.pools |> Enum.map(&String.length(name(&1.name))) |> Enum.max(fn -> 0 end)
    longest |> max(6) |> min(if(wide?(view), do: 40, else: 16))
  end

  @doc "A pool as people write it."
  @spec name(atom) :: String.t()
  def name(pool), do: pool |> inspect() |> String.trim_leading(":")

  @doc "Without what a terminal would obey. Every character has one column then: those of more begin at U+1100."
  @spec clean(String.t()) :: String.t()
  def clean(text) do
    text
    |> String.replace_invalid()
    |> String.replace(~r/[^[:print:]]|[\x{1100}-\x{1FFF}\x{2E80}-\x{10FFFF}]/u, "?")
  end

  @doc "At most so many columns of it."
  @spec clip(String.t(), non_neg_integer) :: String.t()
  def clip(text, width) do
    if String.length(text) <= width,
      do: text,
      else: String.slice(text, 0, max(0, width - 1)) <> "…"
  end

  @doc "A system time in ms as local time of day."
  @spec clock(integer) :: String.t()
  def clock(at) do
    {_date, {hour, minute, second}} = :calendar.system_time_to_local_time(at, :millisecond)
    [hour, minute, second] |> Enum.map_join(":", &String.pad_leading("#{&1}", 2, "0"))
  end
end
