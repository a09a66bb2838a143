defmodule Stevedore.GroupTest do
  use Stevedore.ClusterCase

  # Three nodes with one pool each, this one among them.

  alias Stevedore.Group

  @pool Stevedore.GroupTest.Pool
  @group Stevedore.GroupTest.Group
  @member {Group, name: @group, pool: @pool, gossip: 20}

  setup do
    {path, options} = new_ledger!()
    {:ok, ledger: path, options: [name: @pool, threads: 1] ++ options}
  end

  defp start_here!(options) do
    start_pool!(options)
    start_group_here!()
  end

  defp start_group_here!, do: start_supervised!(@member)

  defp start_member!(options, others \\ []) do
    peer = start_peer!()
    for other <- others, do: true = run(peer, Node, :connect, [other.node])
    {peer, join!(peer, options)}
  end

  defp join!(peer, options) do
    holder = start_pool_on!(peer, options)
    start_on!(peer, @member)
    holder
  end

  defp await_nodes(count) do
    eventually(fn -> Enum.count(Group.nodes(@group), &(&1.threads > 0)) == count end)
  end

  # Until the other nodes have said it.
  defp await_load(node, in_flight) do
    eventually(fn ->
      Enum.any?(Group.nodes(@group), &(&1.node == node and &1.in_flight == in_flight))
    end)
  end

  defp work(key, ms, options \\ []) do
    Task.async(fn -> Group.call(@group, "ledger.work", %{key: key, ms: ms}, options) end)
  end

  defp starts(ledger), do: for({:start, key} <- ledger(ledger), do: key)

  test "a group of one is that pool", %{options: options} do
    start_here!(options)
    assert [%{threads: 1, in_flight: 0}] = Group.nodes(@group)
    assert Group.call(@group, "ping", nil) == {:ok, "pong"}
    assert Group.call!(@group, "echo", 1) == 1
    assert @group |> Group.async("echo", 2) |> Stevedore.await() == {:ok, 2}
    assert_raise Error, fn -> Group.call!(@group, "nope", 1) end
    assert {:error, %Error{kind: :bad_args}} = Group.call(@group, "digest", %{algorithm: 1})
  end

  test "here while a thread is idle, else elsewhere", %{ledger: ledger, options: options} do
    {peer, _holder} = start_member!(options)
    start_here!(options)
    await_nodes(2)

    busy = Group.async(@group, "ledger.work", %{key: "here", ms: 60_000})
    assert busy.remote == nil
    await_line(ledger, {:start, "here"})

    elsewhere = Group.async(@group, "ledger.work", %{key: "there", ms: 60_000})
    assert elsewhere.remote.node == peer.node
    await_line(ledger, {:start, "there"})

    assert Enum.all?(
             cancel_all([busy, elsewhere]),
             &match?({:error, %Error{kind: :cancelled}}, &1)
           )

    assert_nothing_left(peer)
  end

  test "a node without the pool can call", %{options: options} do
    {peer, _holder} = start_member!(options)
    start_group_here!()
    await_nodes(1)
    assert [%{node: node}] = Group.nodes(@group)
    assert node == peer.node
    assert Group.call(@group, "ping", nil) == {:ok, "pong"}
    assert_nothing_left(peer)
  end

  test "work is spread, and counted where it is", %{options: options} do
    {one, _} = start_member!(options)
    {two, _} = start_member!(options, [one])
    start_here!(options)
    await_nodes(3)
    jobs = for _ <- 1..9, do: Group.async(@group, "sleep", %{ms: 60_000})
    counts = Enum.frequencies_by(jobs, &Stevedore.Remote.node_of/1)
    # Not exactly three each: a node's last word may be older than what was just sent to it.
    assert Enum.sort(Map.keys(counts)) == Enum.sort([node(), one.node, two.node])
    assert Enum.all?(counts, fn {_node, count} -> count in 2..5 end)
    for {node, count} <- counts, do: await_load(node, count)
    cancel_all(jobs)
    for node <- [node(), one.node, two.node], do: await_load(node, 0)
    for peer <- [one, two], do: assert_nothing_left(peer)
  end

  test "what one node refuses goes to the next; if all refuse, it says what each said", %{
    options: options
  } do
    options = [max_queue: 1] ++ options
    {peer, _holder} = start_member!(options)
    start_here!(options)
    await_nodes(2)
    # One runs and one waits on each.
    jobs =
      for {pool, node} <- [{@pool, node()}, {@pool, peer.node}], _ <- 1..2 do
        job = Stevedore.async({pool, node}, "sleep", %{ms: 60_000})

        eventually(fn ->
          Enum.sum_by(Stevedore.info({pool, node}).workers, & &1.in_flight) > 0
        end)

        job
      end

    for node <- [node(), peer.node], do: await_load(node, 2)
    assert Enum.all?(jobs, &(&1.outcome == nil))

    assert {:error, %Error{kind: :overloaded, details: %{"nodes" => nodes}} = error} =
             Group.call(@group, "sleep", %{ms: 1})

    assert nodes == %{node() => :overloaded, peer.node => :overloaded}
    assert error.message =~ "no node of #{inspect(@group)} can take it"

    assert %Job{outcome: {:error, %Error{kind: :overloaded}}} =
             Group.async(@group, "sleep", %{ms: 1})

    cancel_all(jobs)
    assert Group.call(@group, "sleep", %{ms: 1}) == {:ok, nil}
    assert_nothing_left(peer)
  end

  test "what a node gives back when it drains goes to the next", %{
    ledger: ledger,
    options: options
  } do
    {peer, _holder} = start_member!(options)
    start_group_here!()
    await_nodes(1)
    running = work("running", 60_000)
    await_line(ledger, {:start, "running"})
    queued = work("queued", 0)
    eventually(fn -> proxies(peer) == 2 end)
    start_pool!(options)

    :ok = Stevedore.drain({@pool, peer.node}, timeout: 0)
    assert Task.await(queued) == {:ok, "queued"}
    assert {:error, %Error{kind: :cancelled}} = Task.await(running)
    assert starts(ledger) == ["running", "queued"]
    assert_nothing_left(peer)
  end

  describe "when a node dies" do
    setup %{options: options} do
      {one, _} = start_member!(options)
      start_group_here!()
      await_nodes(1)
      {:ok, one: one}
    end

    test "what had left for it is lost", %{one: one, ledger: ledger} do
      running = work("running", 60_000)
      await_line(ledger, {:start, "running"})
      signal!(one, "KILL")
      assert {:error, %Error{kind: :lost, details: %{"node" => node}}} = Task.await(running)
      assert node == one.node
      assert starts(ledger) == ["running"]
    end

    test "what its caller says is not idempotent is lost, whatever the op says", %{
      one: one,
      ledger: ledger,
      options: options
    } do
      args = %{key: "no", ms: 60_000}
      call = fn -> Group.call(@group, "ledger.idempotent", args, idempotent: false) end
      running = Task.async(call)
      await_line(ledger, {:start, "no"})
      start_pool!(options)
      await_nodes(2)
      signal!(one, "KILL")
      assert {:error, %Error{kind: :lost}} = Task.await(running)
      assert starts(ledger) == ["no"]
    end

    test "what may be run again is, once, elsewhere", %{
      one: one,
      ledger: ledger,
      options: options
    } do
      two = start_peer!()
      running = work("again", 2_000, idempotent: true)
      await_line(ledger, {:start, "again"})
      by_op = Task.async(fn -> Group.call(@group, "ledger.idempotent", %{key: "by_op"}) end)
      eventually(fn -> proxies(one) == 2 end)
      join!(two, options)
      await_nodes(2)
      signal!(one, "KILL")
      assert Task.await(running, 30_000) == {:ok, "again"}
      assert Task.await(by_op, 30_000) == {:ok, "by_op"}
      assert Enum.sort(starts(ledger)) == ["again", "again", "by_op"]
    end

    test "the second node's death is the end of it", %{one: one, ledger: ledger, options: options} do
      running = work("twice", 60_000, idempotent: true)
      await_line(ledger, {:start, "twice"})
      {two, _} = start_member!(options)
      await_nodes(2)
      signal!(one, "KILL")
      eventually(fn -> starts(ledger) == ["twice", "twice"] end)
      start_pool!(options)
      signal!(two, "KILL")
      assert {:error, %Error{kind: :lost}} = Task.await(running)
      assert starts(ledger) == ["twice", "twice"]
    end

    test "and none is left, a lost job is lost", %{one: one, ledger: ledger} do
      running = work("alone", 60_000, idempotent: true)
      await_line(ledger, {:start, "alone"})
      signal!(one, "KILL")
      assert {:error, %Error{kind: :lost}} = Task.await(running)

      eventually(fn -> Group.nodes(@group) == [] end)

      assert {:error, %Error{kind: :unavailable, message: message}} =
               Group.call(@group, "ping", nil)

      assert message =~ "no node that is connected has the pool"
    end

    test "without a word, jobs go elsewhere meanwhile", %{one: one, options: options} do
      start_pool!(options)
      signal!(one, "STOP")
      busy = Stevedore.async(@pool, "sleep", %{ms: 60_000})
      waiting = Stevedore.async(@pool, "sleep", %{ms: 60_000})
      # It looks idle, but does not answer; here is busy. Nothing is lost, for nothing has left.
      task = work("after", 0, queue_timeout: 20_000)
      eventually(fn -> Process.info(task.pid, :status) == {:status, :waiting} end)
      cancel_all([busy, waiting])
      assert Task.await(task, 20_000) == {:ok, "after"}
      signal!(one, "CONT")
    end
  end

  test "a stream over all nodes, with one of them killed", %{ledger: ledger, options: options} do
    {one, _} = start_member!(options)
    {two, _} = start_member!(options, [one])
    start_here!(options)
    await_nodes(3)

    results =
      @group
      |> Group.async_stream(1..300, "ledger.idempotent", &%{key: "k#{&1}", ms: 5},
        max_concurrency: 12
      )
      |> Stream.with_index(1)
      |> Enum.map(fn {result, n} ->
        if n == 100, do: signal!(one, "KILL")
        result
      end)

    assert results == for(n <- 1..300, do: {:ok, "k#{n}"})
    counts = ledger |> starts() |> Enum.frequencies()
    assert map_size(counts) == 300
    # Only what was on that node may have run twice.
    assert Enum.sum(Map.values(counts)) <= 300 + 12
    assert_nothing_left(two)
  end

  test "wrong options and names" do
    assert_raise ArgumentError, ~r/:pool is required/, fn -> Group.start_link(name: A) end

    assert_raise ArgumentError, ~r/:gossip.*got: 1$/, fn ->
      Group.start_link(name: A, pool: B, gossip: 1)
    end

    assert_raise ArgumentError, ~r/no group Nothing/, fn -> Group.call(Nothing, "ping", nil) end
    assert_raise ArgumentError, ~r/no group Nothing/, fn -> Group.nodes(Nothing) end
  end
end
