defmodule Chaos.Report do
  @moduledoc "What was checked, what was found, and one line at the end."

  @doc "`checks` with the violations of each, so many of them in full; true if there were none."
  @spec print(keyword(String.t()), [Chaos.Judge.violation()], String.t(), pos_integer) :: boolean
  def print(checks, violations, again, shown) do
    by_check = Enum.group_by(violations, & &1.check)

    for {name, meaning} <- checks,
        do: print_check(name, meaning, Map.get(by_check, name, []), shown)

    failed = Enum.count(checks, fn {name, _meaning} -> is_map_key(by_check, name) end)
    if failed > 0, do: IO.puts("\nthe same again: #{again}")
    IO.puts("\n#{length(checks) - failed} passed, #{failed} failed")
    failed == 0
  end

  defp print_check(name, meaning, [], _shown), do: IO.puts("ok      #{name}: #{meaning}")

  defp print_check(name, meaning, violations, shown) do
    IO.puts("FAILED  #{name}: #{meaning}: not #{length(violations)} times")

    for violation <- Enum.take(violations, shown) do
      IO.puts("\n  [#{violation[:where]}] #{violation.key} #{violation.text}")
    end
  end

  @doc "Adds up what rounds have counted."
  @spec add(map, map) :: map
  def add(one, other), do: Map.merge(one, other, fn _key, a, b -> sum(a, b) end)

  defp sum(a, b) when is_map(a), do: add(a, b)
  defp sum(a, b), do: a + b
end
