defmodule Chaos.Ledger do
  @moduledoc "What the ops themselves have written down (`tests/plugins/ledger.c`): one line for each start and end."

  @type line :: %{
          what: :start | :end,
          key: String.t(),
          pid: integer,
          at: integer,
          how: String.t() | nil,
          text: String.t()
        }

  @doc "The lines in the order in which they were written."
  @spec read(Path.t()) :: [line]
  def read(path) do
    path |> File.read!() |> String.split("\n", trim: true) |> Enum.map(&parse/1)
  end

  @spec parse(String.t()) :: line
  def parse(text) do
    {what, key, pid, at, how} =
      case String.split(text, " ") do
        ["start", key, pid, _tid, at] -> {:start, key, pid, at, nil}
        ["end", key, pid, _tid, at, how] -> {:end, key, pid, at, how}
      end

    %{
      what: what,
      key: key,
      pid: String.to_integer(pid),
      at: String.to_integer(at),
      how: how,
      text: text
    }
  end

  @doc "The ops' clock, CLOCK_MONOTONIC in ns: `System.monotonic_time/0` has an offset to it."
  @spec now() :: integer
  def now, do: :os.perf_counter(:nanosecond)
end
