defmodule Chaos.Recovery do
  @moduledoc "Whether a pool is itself again after all that was done to it. There is time for it, but not for ever."

  alias Chaos.Judge

  @patience_ms 30_000

  @doc "Waits until `fun` says `:ok`; if it never does, what it said last."
  @spec until((-> :ok | term)) :: :ok | term
  def until(fun), do: until(fun, System.monotonic_time(:millisecond) + @patience_ms)

  defp until(fun, deadline) do
    with other when other != :ok <- fun.() do
      if System.monotonic_time(:millisecond) > deadline do
        other
      else
        Process.sleep(10)
        until(fun, deadline)
      end
    end
  end

  @doc "A violation `serves`, unless so many good calls follow each other."
  @spec serves(atom, pos_integer) :: [Judge.violation()]
  def serves(pool, calls \\ 1) do
    violation(:serves, until(fn -> Enum.find_value(1..calls, :ok, &refused(pool, &1)) end))
  end

  defp refused(pool, n) do
    case Stevedore.call(pool, "echo", n, timeout: 1_000, queue_timeout: 1_000) do
      {:ok, ^n} -> nil
      other -> other
    end
  end

  @doc "A violation `pool_size`, unless the pool has so many workers."
  @spec whole(atom, pos_integer) :: [Judge.violation()]
  def whole(pool, count) do
    violation(:pool_size, until(fn -> counted(Stevedore.info(pool).workers, count) end))
  end

  defp counted(workers, count), do: if(length(workers) == count, do: :ok, else: workers)

  defp violation(_check, :ok), do: []
  defp violation(check, what), do: [%{check: check, key: nil, text: inspect(what)}]
end
