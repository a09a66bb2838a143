defmodule Stevedore.StreamTest do
  use Stevedore.PoolCase, async: true

  test "results come in order by default" do
    pool = start_pool!(threads: 2)

    assert pool |> Stevedore.async_stream(1..500, "echo", &[&1]) |> Enum.to_list() ==
             for(n <- 1..500, do: {:ok, [n]})

    refute_received _
  end

  test "or as they finish" do
    pool = start_pool!(threads: 2)
    options = [ordered: false, max_concurrency: 2]

    results =
      pool
      |> Stevedore.async_stream([60_000, 1, 2, 3], "sleep", &%{ms: &1}, options)
      |> Enum.take(3)

    assert [{:ok, _}, {:ok, _}, {:ok, _}] = results
    # And the one that was still running was cancelled: both threads are free.
    assert {:ok, _} = Stevedore.call(pool, "sleep", %{ms: 1})
    refute_received _
  end

  test "no more jobs are in flight than asked for" do
    pool = start_pool!(threads: 4)
    forward_events(pool, [[:job, :start], [:job, :stop]])

    for ordered <- [true, false] do
      options = [max_concurrency: 3, ordered: ordered]
      pool |> Stevedore.async_stream(1..50, "echo", & &1, options) |> Stream.run()
      assert most_in_flight(0, 0) == 3
    end
  end

  defp most_in_flight(now, most) do
    receive do
      {:event, [:job, :start], _, _} -> most_in_flight(now + 1, max(most, now + 1))
      {:event, [:job, :stop], _, _} -> most_in_flight(now - 1, most)
    after
      0 -> most
    end
  end

  test "is lazy, and ends what it began when it is left" do
    pool = start_pool!(threads: 1)
    test = self()

    arguments = fn n ->
      send(test, {:made, n})
      %{ms: if(n == 1, do: 1, else: 60_000)}
    end

    stream =
      Stevedore.async_stream(pool, Stream.from_index(1), "sleep", arguments, max_concurrency: 2)

    refute_received {:made, _}
    assert [{:ok, _}] = Enum.take(stream, 1)
    assert_received {:made, 1}
    assert_received {:made, 2}
    refute_received {:made, 4}
    assert {:ok, _} = Stevedore.call(pool, "sleep", %{ms: 1})
  end

  test "errors are results" do
    pool = start_pool!()

    assert [{:error, %Error{kind: :unknown_op}}, {:error, %Error{kind: :unknown_op}}] =
             pool |> Stevedore.async_stream([1, 2], "nope", & &1) |> Enum.to_list()
  end

  test "a worker's death is the result of the jobs that it had" do
    pool = start_fixture!("crashes_mid_job", backoff_min: 1, backoff_max: 1)

    for ordered <- [true, false] do
      results =
        pool |> Stevedore.async_stream(1..3, "echo", & &1, ordered: ordered) |> Enum.to_list()

      assert length(results) == 3
      assert Enum.all?(results, &match?({:error, %Error{}}, &1))
    end
  end

  test "a job that died with its worker's process is found however steadily results come" do
    pool = start_pool!(workers: 2, threads: 1)
    test = self()

    args = fn
      1 -> %{ms: 60_000}
      20 -> Process.exit(holder_of_longest(pool), :kill) && %{ms: 5}
      1_000 -> send(test, :no_more) && %{ms: 5}
      _n -> %{ms: 5}
    end

    options = [ordered: false, max_concurrency: 4, idempotent: false]
    results = Stevedore.async_stream(pool, 1..1_000, "sleep", args, options)
    assert {:error, %Error{kind: :lost}} = Enum.find(results, &match?({:error, _}, &1))
    refute_received :no_more
  end

  defp holder_of_longest(pool) do
    {:ok, %{workers: workers}} = Stevedore.stats(pool)
    longest = fn worker -> worker.jobs |> Enum.map(& &1.ran_ms) |> Enum.max(fn -> 0 end) end
    Enum.max_by(workers, longest).pid
  end

  test "limits hold in an unordered stream too" do
    pool = start_fixture!("never_answers", kill_after: 1)
    options = [ordered: false, timeout: 1, queue_timeout: 1]

    assert [{:error, %Error{kind: :timed_out}}, {:error, %Error{kind: :timed_out}}] =
             pool |> Stevedore.async_stream([1, 2], "echo", & &1, options) |> Enum.to_list()
  end

  test "what came in time is the result, however late it is taken" do
    pool = start_pool!(threads: 2)
    limits = [timeout: 100, queue_timeout: 100, kill_after: 1]
    options = [ordered: false, max_concurrency: 3] ++ limits
    # A caller's own limit is the sum of these and a second.
    too_late = System.monotonic_time(:millisecond) + 1_300

    results =
      pool
      |> Stevedore.async_stream(1..3, "echo", & &1, options)
      |> Enum.map(fn result ->
        eventually(fn -> System.monotonic_time(:millisecond) > too_late end)
        result
      end)

    assert Enum.sort(results) == [{:ok, 1}, {:ok, 2}, {:ok, 3}]
    refute_received _
  end

  test "an empty input is an empty stream, a wrong option raises at once" do
    pool = start_pool!()
    assert pool |> Stevedore.async_stream([], "echo", & &1) |> Enum.to_list() == []

    assert_raise ArgumentError, ~r/:max_concurrency/, fn ->
      Stevedore.async_stream(pool, [], "echo", & &1, max_concurrency: 0)
    end
  end
end
