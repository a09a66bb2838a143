defmodule Demo.Bar do
  @moduledoc """
  A progress bar in bytes: redrawn in place on a terminal, a plain line now and then elsewhere.

      bar = Demo.Bar.new("digest", total)
      bar = Demo.Bar.add(bar, 4_096)
      Demo.Bar.finish(bar)
  """

  alias Demo.Table

  @cells 24
  @redraw_ms 80
  @line_ms 3_000

  @enforce_keys [:label, :total, :style, :started_at, :drawn_at]
  defstruct [:label, :total, :style, :started_at, :drawn_at, done: 0]

  @type t :: %__MODULE__{}

  @spec new(String.t(), non_neg_integer) :: t
  def new(label, total) do
    now = now()
    draw(%__MODULE__{label: label, total: total, style: style(), started_at: now, drawn_at: now})
  end

  @doc "Notes that so many more bytes are done."
  @spec add(t, non_neg_integer) :: t
  def add(bar, bytes) do
    bar = %{bar | done: bar.done + bytes}
    if now() - bar.drawn_at >= pause(bar.style), do: draw(bar), else: bar
  end

  @spec finish(t) :: :ok
  def finish(bar) do
    draw(bar)
    if bar.style == :terminal, do: IO.puts("")
    :ok
  end

  # Only a terminal has columns.
  defp style do
    case :io.columns() do
      {:ok, _columns} -> :terminal
      {:error, _none} -> :lines
    end
  end

  defp pause(:terminal), do: @redraw_ms
  defp pause(:lines), do: @line_ms

  defp draw(%{style: :terminal} = bar) do
    filled = round(@cells * share(bar))
    cells = String.duplicate("█", filled) <> String.duplicate("░", @cells - filled)
    IO.write("\r#{String.pad_trailing(bar.label, 15)} #{cells} #{describe(bar)}\e[K")
    %{bar | drawn_at: now()}
  end

  defp draw(%{style: :lines} = bar) do
    IO.puts("#{String.pad_trailing(bar.label, 15)} #{describe(bar)}")
    %{bar | drawn_at: now()}
  end

  defp describe(bar) do
    percent = "#{round(100 * share(bar))} %" |> String.pad_leading(5)
    rate = Table.rate(bar.done, now() - bar.started_at)
    "#{percent}  #{Table.bytes(bar.done)} of #{Table.bytes(bar.total)}, #{rate}"
  end

  defp share(%{total: 0}), do: 1.0
  defp share(%{done: done, total: total}), do: min(1.0, done / total)

  defp now, do: System.monotonic_time(:millisecond)
end
