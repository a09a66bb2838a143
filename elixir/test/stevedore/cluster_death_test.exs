defmodule Stevedore.ClusterDeathTest do
  use Stevedore.ClusterCase

  # What becomes of jobs when the other node goes, or the way to it. The ledger says what really ran.

  @unavailable :unavailable

  setup do
    {path, options} = new_ledger!()
    {:ok, ledger: path, options: [name: There] ++ options}
  end

  defp peer!(options) do
    peer = start_peer!()
    start_pool_on!(peer, options)
    {peer, {There, peer.node}}
  end

  # One that runs and one behind it: there is one thread.
  defp start_two!(there, ledger) do
    running = Stevedore.async(there, "ledger.work", %{key: "running", ms: 60_000})
    await_line(ledger, {:start, "running"})
    {running, Stevedore.async(there, "ledger.work", %{key: "queued", ms: 60_000})}
  end

  defp assert_lost(job, node) do
    assert {:error, %Error{kind: :lost, pool: There} = error} = Stevedore.await(job)
    assert %{"node" => ^node, "reason" => "noconnection"} = error.details
    assert Exception.message(error) =~ "run it again only if that does no harm"
  end

  # Nothing of them in this process, and nothing more to come.
  defp assert_clean do
    assert Process.info(self(), :messages) == {:messages, []}
    assert Process.info(self(), :monitors) == {:monitors, []}
  end

  defp ms(fun) do
    {us, result} = :timer.tc(fun)
    {div(us, 1000), result}
  end

  test "a process that is to see progress on a node that hangs holds up no worker" do
    peer = start_peer!()
    pool = start_fault_pool!(threads: 1)
    there = run(peer, Process, :whereis, [:init])
    signal!(peer, "STOP")
    fill_connection(there)
    options = [on_progress: there, progress_interval: 1, timeout: 1_000, queue_timeout: 1_000]
    assert {:ok, _} = Stevedore.call(pool, "fault.spin", %{ms: 100}, options)
  end

  defp fill_connection(there) do
    data = :binary.copy("x", 1_000_000)
    sender = spawn_link(fn -> for _ <- 1..100, do: send(there, data) end)
    eventually(fn -> Process.info(sender, :status) == {:status, :suspended} end)
    Process.unlink(sender)
  end

  describe "a node that goes down loses what had left for it," do
    for {how, fun} <- [
          {"halted",
           quote(do: fn peer -> run_cast(peer, :erlang, :halt, [1, [flush: false]]) end)},
          {"killed", quote(do: fn peer -> signal!(peer, "KILL") end)}
        ] do
      test "#{how}: at once, whether it ran or was queued", %{ledger: ledger, options: options} do
        {peer, there} = peer!(options)
        {running, queued} = start_two!(there, ledger)
        unquote(fun).(peer)
        {ms, _} = ms(fn -> for job <- [running, queued], do: assert_lost(job, peer.node) end)
        assert ms < 2_000
        assert_clean()
        assert Enum.filter(ledger(ledger), &match?({:start, _}, &1)) == [{:start, "running"}]
      end
    end

    test "and a stream over it goes on with errors", %{options: options} do
      {peer, there} = peer!(options)
      args = fn n -> %{key: "k#{n}", ms: 60_000} end
      test = self()

      {streaming, monitor} =
        spawn_monitor(fn ->
          results =
            Stevedore.async_stream(there, 1..6, "ledger.work", args,
              max_concurrency: 3,
              ordered: false
            )

          send(test, {:results, Enum.to_list(results)})
        end)

      eventually(fn -> proxies(peer) == 3 end)
      signal!(peer, "KILL")
      assert_receive {:results, results}

      assert Enum.frequencies_by(results, fn {:error, error} -> error.kind end) == %{
               lost: 3,
               unavailable: 3
             }

      assert_receive {:DOWN, ^monitor, :process, ^streaming, :normal}
    end
  end

  test "a connection that is lost: here the job is lost, there it is stopped", %{
    ledger: ledger,
    options: options
  } do
    {peer, there} = peer!(options)
    {running, queued} = start_two!(there, ledger)
    true = :erlang.disconnect_node(peer.node)
    for job <- [running, queued], do: assert_lost(job, peer.node)
    await_line(ledger, {:end, "running", "stopped"})
    eventually(fn -> proxies(peer) == 0 end)
    assert_clean()

    # It is connected to again, and nothing of before comes back.
    assert Stevedore.call(there, "ledger.work", %{key: "after"}) == {:ok, "after"}
    assert_clean()
    # Its proxy is another one than that of the job before it, and may be the later one to notice.
    refute {:end, "queued", "ok"} in ledger(ledger)
  end

  test "what has no way to a node never ran, and that is known at once", %{options: options} do
    {peer, there} = peer!(options)

    {ms, result} = ms(fn -> Stevedore.call({There, :"nobody@127.0.0.1"}, "ping", nil) end)

    assert {:error, %Error{kind: @unavailable, details: %{"node" => :"nobody@127.0.0.1"}}} =
             result

    assert ms < 2_000

    assert {:error, %Error{kind: @unavailable, message: message}} =
             Stevedore.call({Nowhere, peer.node}, "ping", nil)

    assert message =~ "no pool Nowhere on the node #{peer.node}"

    signal!(peer, "KILL")
    eventually(fn -> peer.node not in Node.list() end)
    assert {:error, %Error{kind: @unavailable}} = Stevedore.call(there, "ping", nil)
    assert_clean()
  end

  test "a node without Stevedore says so" do
    peer = start_peer!(paths: [])

    assert {:error, %Error{kind: @unavailable, message: message}} =
             Stevedore.call({There, peer.node}, "ping", nil)

    assert message =~ "no Stevedore"
    assert_clean()
  end

  test "a node that hangs takes no job: it never runs, not even when the node goes on", %{
    ledger: ledger,
    options: options
  } do
    {peer, there} = peer!(options)
    signal!(peer, "STOP")

    {ms, result} =
      ms(fn -> Stevedore.call(there, "ledger.work", %{key: "never"}, queue_timeout: 300) end)

    signal!(peer, "CONT")
    assert {:error, %Error{kind: @unavailable, message: message}} = result
    assert message =~ "does not answer"
    assert ms in 300..2_000
    assert Stevedore.call(there, "ledger.work", %{key: "later"}) == {:ok, "later"}
    assert ledger(ledger) == [{:start, "later"}, {:end, "later", "ok"}]
    assert_clean()
  end

  test "a node that hangs with a job in it loses it, after all limits", %{
    ledger: ledger,
    options: options
  } do
    {peer, there} = peer!(options)
    limits = [queue_timeout: 100, timeout: 100, kill_after: 100]
    job = Stevedore.async(there, "ledger.work", %{key: "frozen", ms: 60_000}, limits)
    await_line(ledger, {:start, "frozen"})
    signal!(peer, "STOP")

    assert {:error, %Error{kind: :lost, details: %{"reason" => "no answer"}}} =
             Stevedore.await(job)

    assert_clean()
    signal!(peer, "CONT")
    eventually(fn -> proxies(peer) == 0 end)
  end

  test "a pool that stops there settles its jobs as it does for callers of its own", %{
    ledger: ledger,
    options: options
  } do
    peer = start_peer!()
    holder = start_pool_on!(peer, [drain_timeout: 100] ++ options)
    {running, queued} = start_two!({There, peer.node}, ledger)
    send(holder, :stop)
    assert {:error, %Error{kind: :cancelled}} = Stevedore.await(running)
    assert {:error, %Error{kind: :unavailable}} = Stevedore.await(queued)
    assert_nothing_left(peer)
    assert Enum.filter(ledger(ledger), &match?({:start, _}, &1)) == [{:start, "running"}]
  end
end
