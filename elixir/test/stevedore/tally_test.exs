defmodule Stevedore.TallyTest do
  use ExUnit.Case, async: true

  alias Stevedore.{Error, Tally}

  defp receipt(queued, ran), do: %{queued_us: queued, ran_us: ran, cpu_us: 0}

  defp random_us, do: trunc(:math.pow(10, :rand.uniform() * 9)) - 1

  defp count(tally, %{} = receipt), do: :ok = Tally.count_ok(tally, receipt)
  defp count(tally, kind), do: :ok = Tally.count_error(tally, kind)

  test "whatever is counted can be read again" do
    for _ <- 1..50 do
      ends =
        for _ <- 1..:rand.uniform(200) do
          Enum.random([receipt(random_us(), random_us()), Enum.random(Error.kinds())])
        end

      tally = Tally.new()
      Enum.each(ends, &count(tally, &1))
      read = Tally.read(tally)
      {ok, errors} = Enum.split_with(ends, &is_map/1)
      ran = Enum.map(ok, & &1.ran_us)

      assert read.ended ==
               Error.kinds()
               |> Map.new(&{&1, 0})
               |> Map.merge(Enum.frequencies(errors))
               |> Map.put(:ok, length(ok))

      assert read.queue_time == %{count: length(ok), sum_us: Enum.sum_by(ok, & &1.queued_us)}
      buckets = for bound <- Tally.bounds(), do: {bound, Enum.count(ran, &(&1 <= bound))}

      assert read.run_time == %{
               buckets: buckets ++ [{:infinity, length(ok)}],
               count: length(ok),
               sum_us: Enum.sum(ran)
             }
    end
  end

  test "bounds belong to their bucket" do
    for bound <- Tally.bounds() do
      tally = Tally.new()
      Tally.count_ok(tally, receipt(0, bound))
      Tally.count_ok(tally, receipt(0, bound + 1))
      assert {bound, 1} in Tally.read(tally).run_time.buckets
    end
  end

  test "by many at the same time" do
    tally = Tally.new()
    count = fn -> for _ <- 1..500, do: Tally.count_ok(tally, receipt(1, 1)) end
    1..20 |> Enum.map(fn _ -> Task.async(count) end) |> Task.await_many()
    assert %{ended: %{ok: 10_000}, run_time: %{sum_us: 10_000}} = Tally.read(tally)
  end

  test "nowhere" do
    assert Tally.count_error(nil, :lost) == :ok
  end
end
