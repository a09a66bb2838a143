defmodule Stevedore.BackoffTest do
  use ExUnit.Case, async: true

  alias Stevedore.Backoff

  # Deaths one after the other, each as soon as the wait for the last one is over.
  defp delays(backoff, count, random \\ 0.5) do
    {delays, _} =
      Enum.map_reduce(1..count, {backoff, 0}, fn _, {backoff, now} ->
        {delay, backoff} = Backoff.next(backoff, now, random)
        {delay, {backoff, now + delay}}
      end)

    delays
  end

  test "the first restart is immediate, then the wait doubles up to the maximum" do
    assert delays(Backoff.new(100, 1_000), 7) == [0, 100, 200, 400, 800, 1_000, 1_000]
  end

  test "jitter is a quarter to either side, within the maximum" do
    assert delays(Backoff.new(100, 1_000), 6, 0.0) == [0, 75, 150, 300, 600, 750]
    assert delays(Backoff.new(100, 1_000), 6, 1.0) == [0, 125, 250, 500, 1_000, 1_000]
  end

  test "every wait is at least 1 ms and at most the maximum, whatever happens" do
    :rand.seed(:exsss, {1, 2, 3})

    for _ <- 1..200 do
      min = :rand.uniform(50)
      max = min + :rand.uniform(1_000)
      [first | others] = delays(Backoff.new(min, max), 50, :rand.uniform())
      assert first == 0
      assert Enum.all?(others, &(&1 in 1..max//1))
    end
  end

  test "a quiet spell forgets what was, the wait itself is not quiet" do
    backoff = Backoff.new(100, 60_000)
    {0, backoff} = Backoff.next(backoff, 0, 0.5)
    {100, backoff} = Backoff.next(backoff, 0, 0.5)
    {200, busy} = Backoff.next(backoff, 100 + backoff.quiet - 1, 0.5)
    assert {0, _} = Backoff.next(backoff, 100 + backoff.quiet, 0.5)
    assert {400, _} = Backoff.next(busy, busy.last + 1, 0.5)
  end
end
