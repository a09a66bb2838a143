defmodule Stevedore.ClusterChaosTest do
  use Stevedore.ClusterCase

  # A group of three nodes under load, while workers are killed, connections are cut and a node is killed, at random
  # (`STEVEDORE_CHAOS_SEED`). Afterwards each job's outcome is held against what the ledger says it did.

  alias Stevedore.Group

  @pool Stevedore.ClusterChaosTest.Pool
  @group Stevedore.ClusterChaosTest.Group
  @jobs 600
  @callers 24
  @never_ran [:overloaded, :unavailable, :queue_timeout]

  test "every job has one outcome, and it is true" do
    seed = String.to_integer(System.get_env("STEVEDORE_CHAOS_SEED") || "#{:rand.uniform(99_999)}")
    {ledger, options} = new_ledger!()
    options = [name: @pool, workers: 2, threads: 2, quarantine: false] ++ options
    member = {Group, name: @group, pool: @pool, gossip: 20}

    peers = [one, two] = for _ <- 1..2, do: start_peer!()
    true = run(one, Node, :connect, [two.node])
    for peer <- peers, do: start_pool_on!(peer, options) && start_on!(peer, member)
    start_pool!(options)
    start_supervised!(member)
    eventually(fn -> Enum.count(Group.nodes(@group), &(&1.threads == 4)) == 3 end)

    killer = start_supervised!({Task, fn -> kill_at_random(peers, seed) end})
    outcomes = run_jobs(two)
    Process.unlink(killer)
    :ok = stop_supervised(Task)

    starts = Enum.frequencies(for {:start, key} <- ledger(ledger), do: key)

    wrong =
      for {key, outcome} <- outcomes,
          not true?(key, outcome, Map.get(starts, key, 0)),
          do: {key, outcome, starts[key]}

    assert wrong == [], "seed #{seed}: #{inspect(wrong)}"
    assert map_size(outcomes) == @jobs
    kinds = Enum.frequencies_by(outcomes, fn {_key, outcome} -> kind(outcome) end)
    if System.get_env("STEVEDORE_CHAOS_SEED"), do: IO.puts("seed #{seed}: #{inspect(kinds)}")
    assert kinds[:ok] > @jobs / 2, "seed #{seed}: #{inspect(kinds)}"
    assert_nothing_left(one)
  end

  # The second node dies after a third of them.
  defp run_jobs(doomed) do
    1..@jobs
    |> Task.async_stream(
      fn n ->
        if n == div(@jobs, 3), do: signal!(doomed, "KILL")
        key = if rem(n, 2) == 0, do: "i#{n}", else: "o#{n}"
        {key, Group.call(@group, "ledger.work", %{key: key, ms: 15}, idempotent: rem(n, 2) == 0)}
      end,
      max_concurrency: @callers,
      timeout: 120_000
    )
    |> Map.new(fn {:ok, result} -> result end)
  end

  defp kill_at_random(peers, seed) do
    :rand.seed(:exsss, seed)
    nodes = [node() | Enum.map(peers, & &1.node)]
    Stream.repeatedly(fn -> kill_one(:rand.uniform(8), nodes) end) |> Stream.run()
  end

  defp kill_one(1, [_here | others]) do
    other = Enum.random(others)
    :erlang.disconnect_node(other)
    Process.sleep(50)
    # As what connects nodes in earnest would.
    Node.connect(other)
  end

  defp kill_one(_any, nodes) do
    workers = Stevedore.info({@pool, Enum.random(nodes)}).workers

    for %{os_pid: os_pid} <- Enum.take_random(workers, 1),
        do: System.cmd("kill", ["-KILL", "#{os_pid}"], stderr_to_stdout: true)

    Process.sleep(50)
  rescue
    # That node is gone.
    _error in [Error, ArgumentError] -> Process.sleep(50)
  end

  # Keys that begin with i may run again: once by their pool and once by the group, on which the pool may do it again.
  defp true?("i" <> _, {:ok, _}, starts), do: starts in 1..4

  defp true?("i" <> _, {:error, %Error{kind: kind}}, starts) when kind in @never_ran,
    do: starts == 0

  defp true?("i" <> _, {:error, _}, starts), do: starts in 0..4
  defp true?("o" <> _, {:ok, _}, starts), do: starts == 1

  defp true?("o" <> _, {:error, %Error{kind: kind}}, starts) when kind in @never_ran,
    do: starts == 0

  defp true?("o" <> _, {:error, %Error{kind: kind}}, starts),
    do: kind in [:lost, :crashed] and starts <= 1

  defp kind({:ok, _}), do: :ok
  defp kind({:error, error}), do: error.kind
end
