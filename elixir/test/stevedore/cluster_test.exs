defmodule Stevedore.ClusterTest do
  use Stevedore.ClusterCase

  # `{pool, node}`: the same as here, on a node that is there.

  setup_all do
    peer = start_peer!()
    fault = [plugins: [plugin("fault")]]
    start_pool_on!(peer, [name: There, workers: 2, threads: 2] ++ fault)
    {:ok, peer: peer, there: {There, peer.node}}
  end

  setup %{peer: peer} do
    on_exit(fn -> eventually(fn -> proxies(peer) == 0 end) end)
  end

  describe "a job on another node" do
    test "has the same results", %{peer: peer, there: there} do
      assert Stevedore.call(there, "ping", nil) == {:ok, "pong"}

      assert Stevedore.call(there, :echo, %{a: [1, "b", 2.5, nil, {:a}]}) ==
               {:ok, %{a: [1, "b", 2.5, nil, {:a}]}}

      assert Stevedore.call!(there, "digest", %{algorithm: "crc32", data: "abc"}) == "352441c2"
      assert_nothing_left(peer)
    end

    test "may be large both ways", %{peer: peer, there: there} do
      large = :crypto.strong_rand_bytes(20_000_000)
      assert Stevedore.call(there, "echo", large) == {:ok, large}
      assert_nothing_left(peer)
    end

    test "has the same errors, and says where", %{peer: peer, there: there} do
      node = peer.node

      for {op, args, options, kind} <- [
            {"nope", nil, [], :unknown_op},
            {"digest", %{algorithm: 1}, [], :bad_args},
            {"digest", %{algorithm: "sha256", path: "/does/not/exist"}, [], :failed},
            {"echo", self(), [], :bad_request},
            {"sleep", %{ms: 60_000}, [timeout: 20], :timed_out},
            {"echo", :binary.copy(<<0>>, 68_000_000), [], :too_large}
          ] do
        assert {:error, %Error{kind: ^kind, pool: There, details: %{"node" => ^node}} = error} =
                 Stevedore.call(there, op, args, options)

        assert error.op == op
      end

      assert_nothing_left(peer)
    end

    test "that crashes has its backtrace", %{peer: peer, there: there} do
      assert {:error, %Error{kind: :crashed} = error} = Stevedore.call(there, "fault.crash", %{})
      assert error.details["signal"] == "SIGSEGV"
      assert Enum.any?(error.details["backtrace"], &(&1 =~ "crash_by_null_write"))
      assert node(error.worker) == peer.node
      assert Stevedore.call(there, "ping", nil) == {:ok, "pong"}
      assert_nothing_left(peer)
    end

    test "raises the same for wrong options, before anything is sent", %{there: there} do
      assert_raise ArgumentError, ~r/:timeout.*-1/, fn ->
        Stevedore.call(there, "ping", nil, timeout: -1)
      end

      assert_raise ArgumentError, ~r/:nope/, fn -> Stevedore.call(there, "ping", nil, nope: 1) end
      assert_raise ArgumentError, ~r/an op must be/, fn -> Stevedore.call(there, 1, nil) end

      assert_raise ArgumentError, ~r/two atoms/, fn ->
        Stevedore.call({There, "b"}, "ping", nil)
      end
    end

    test "may be awaited later, in pieces, by its own process only", %{peer: peer, there: there} do
      job = Stevedore.async(there, "sleep", %{ms: 60_000})
      assert Stevedore.yield(job, 10) == nil

      assert_raise ArgumentError, ~r/only the process/, fn ->
        fn -> catch_error(Stevedore.await(job)) end |> Task.async() |> Task.await() |> raise()
      end

      :ok = Task.await(Task.async(fn -> Stevedore.cancel(job) end))
      assert {:error, %Error{kind: :cancelled}} = Stevedore.await(job)
      assert_nothing_left(peer)
    end

    test "may have the largest limits there are", %{peer: peer, there: there} do
      limits = [timeout: 2_147_483_647, queue_timeout: 2_147_483_647]
      assert Stevedore.call(there, "echo", 1, limits) == {:ok, 1}
      job = Stevedore.async(there, "sleep", %{ms: 1}, timeout: :infinity)
      assert Stevedore.yield(job, 5_000_000_000) == {:ok, nil}
      assert_nothing_left(peer)
    end

    test "is cancelled before it runs", %{peer: peer, there: there} do
      running = for _ <- 1..4, do: Stevedore.async(there, "sleep", %{ms: 60_000})
      waiting = Stevedore.async(there, "sleep", %{ms: 60_000})
      :ok = Stevedore.cancel(waiting)
      assert {:error, %Error{kind: :cancelled}} = Stevedore.await(waiting)
      assert Enum.all?(cancel_all(running), &match?({:error, %Error{kind: :cancelled}}, &1))
      assert_nothing_left(peer)
    end

    test "waits no longer than its queue_timeout", %{peer: peer, there: there} do
      running = for _ <- 1..4, do: Stevedore.async(there, "sleep", %{ms: 60_000})
      eventually(fn -> length(running(there)) == 4 end)

      assert {:error, %Error{kind: :queue_timeout}} =
               Stevedore.call(there, "sleep", %{ms: 1}, queue_timeout: 50)

      cancel_all(running)
      assert_nothing_left(peer)
    end

    test "reports progress, to a pid with its own reference", %{peer: peer, there: there} do
      job =
        Stevedore.async(there, "fault.spin", %{ms: 200},
          on_progress: self(),
          progress_interval: 10
        )

      ref = job.ref
      assert_receive {:stevedore_progress, ^ref, _done, _total}
      assert {:ok, nil} = Stevedore.await(job)
      flush_progress(ref)
      assert_nothing_left(peer)
    end

    test "reports progress to a function, in its caller", %{peer: peer, there: there} do
      test = self()
      report = fn done, total -> send(test, {self(), done, total}) end

      {:ok, nil} =
        Stevedore.call(there, "fault.spin", %{ms: 200},
          on_progress: report,
          progress_interval: 10
        )

      assert_received {^test, done, total} when is_integer(done) and is_integer(total)
      flush_progress(test)
      assert_nothing_left(peer)
    end

    test "is abandoned if that function raises", %{peer: peer, there: there} do
      assert_raise RuntimeError, "enough", fn ->
        Stevedore.call(there, "fault.spin", %{ms: 60_000},
          on_progress: fn _, _ -> raise "enough" end
        )
      end

      assert_nothing_left(peer)
      eventually(fn -> running(there) == [] end)
    end

    test "ends at once when its caller does", %{peer: peer, there: there} do
      {caller, monitor} =
        spawn_monitor(fn ->
          job = Stevedore.async(there, "sleep", %{ms: 60_000})
          receive do: (:stop -> job)
        end)

      eventually(fn -> length(running(there)) == 1 end)
      Process.exit(caller, :kill)
      assert_receive {:DOWN, ^monitor, :process, ^caller, :killed}
      eventually(fn -> running(there) == [] end)
      assert_nothing_left(peer)
    end

    test "is lost if the process that waits for it there is killed, and stopped", %{
      peer: peer,
      there: there
    } do
      job = Stevedore.async(there, "sleep", %{ms: 60_000})
      eventually(fn -> length(running(there)) == 1 end)
      Process.exit(job.remote.proxy, :kill)

      assert {:error, %Error{kind: :lost, details: %{"reason" => ":killed"}}} =
               Stevedore.await(job)

      eventually(fn -> running(there) == [] end)
      assert_nothing_left(peer)
    end

    test "goes on when its worker's process there is killed, if it has not started", %{peer: peer} do
      start_pool_on!(peer, name: Small, plugins: [plugin("fault")])
      small = {Small, peer.node}
      running = Stevedore.async(small, "sleep", %{ms: 60_000}, idempotent: false)
      eventually(fn -> length(running(small)) == 1 end)
      waiting = Stevedore.async(small, "ping", nil)
      [%{pid: worker}] = Stevedore.info(small).workers
      Process.exit(worker, :kill)
      assert {:error, %Error{kind: :lost}} = Stevedore.await(running)
      assert Stevedore.await(waiting) == {:ok, "pong"}
      assert_nothing_left(peer)
    end
  end

  describe "a stream over another node" do
    test "in order, and as they come", %{peer: peer, there: there} do
      stream = fn options ->
        Stevedore.async_stream(there, 1..200, "echo", & &1, options)
        |> Enum.map(fn {:ok, n} -> n end)
      end

      assert stream.([]) == Enum.to_list(1..200)
      assert Enum.sort(stream.(ordered: false)) == Enum.to_list(1..200)
      assert_nothing_left(peer)
    end

    test "that is left early cancels what is in flight", %{peer: peer, there: there} do
      args = fn n -> %{ms: if(n == 1, do: 1, else: 60_000)} end

      assert [{:ok, nil}] =
               there
               |> Stevedore.async_stream(1..8, "sleep", args, max_concurrency: 2)
               |> Enum.take(1)

      assert_nothing_left(peer)
      eventually(fn -> running(there) == [] end)
    end
  end

  describe "telemetry" do
    test "is that of the side which called", %{peer: peer, there: there} do
      forward_events(There, [[:job, :start], [:job, :stop], [:job, :exception]])

      :ok =
        run(peer, Stevedore.PoolCase, :send_events, [
          There,
          [[:job, :start], [:job, :stop], [:job, :exception]],
          self()
        ])

      node = peer.node
      job = Stevedore.async(there, "echo", 1)
      ref = job.ref
      {:ok, 1} = Stevedore.await(job)

      assert_received {:event, [:job, :start], _,
                       %{job: ^ref, node: ^node, pool: There, op: "echo"}}

      assert_received {:event, [:job, :stop], %{run_time: _},
                       %{job: ^ref, node: ^node, worker: worker}}

      assert node(worker) == node

      {:error, error} = Stevedore.call(there, "nope", 1)
      assert_received {:event, [:job, :start], _, %{job: ref}}
      assert_received {:event, [:job, :exception], _, %{job: ^ref, reason: ^error}}

      {caller, monitor} = spawn_monitor(fn -> Stevedore.async(there, "sleep", %{ms: 60_000}) end)
      assert_receive {:DOWN, ^monitor, :process, ^caller, :normal}
      assert_receive {:event, [:job, :start], _, %{job: ref}}
      # From there: here is nobody left to tell.
      assert_receive {:event, [:job, :exception], _,
                      %{job: ^ref, reason: %Error{kind: :cancelled}}}

      refute_received {:event, _, _, _}
    end
  end

  describe "the pool itself" do
    test "stats, info, ops", %{there: {pool, node} = there} do
      assert {:ok, %{workers: [_, _], circuit: :closed}} = Stevedore.stats(there)
      assert %{name: ^pool, workers: [%{pid: pid, threads: 2} | _]} = Stevedore.info(there)
      assert node(pid) == node
      assert {:ok, ops} = Stevedore.ops(there)
      assert Enum.any?(ops, &(&1["name"] == "fault.crash"))
    end

    test "resize, restart, release, drain", %{peer: peer} do
      start_pool_on!(peer, name: Managed)
      managed = {Managed, peer.node}
      :ok = Stevedore.resize(managed, 2)
      await_ready(managed, 2)
      assert :ok = Stevedore.restart(managed)
      assert {:error, %Error{}} = Stevedore.restart(managed, workers: 3)
      assert :ok = Stevedore.release(managed)
      assert :ok = Stevedore.drain(managed)
      assert {:error, %Error{kind: :unavailable}} = Stevedore.call(managed, "ping", nil)
    end

    test "of another node must exist as well", %{peer: peer} do
      assert_raise ArgumentError, ~r/no pool Nowhere/, fn ->
        Stevedore.info({Nowhere, peer.node})
      end

      assert {:error, %Error{kind: :unavailable}} = Stevedore.stats({Nowhere, :"no@127.0.0.1"})

      assert_raise Error, ~r/cannot be reached/, fn ->
        Stevedore.info({Nowhere, :"no@127.0.0.1"})
      end
    end
  end

  test "any process on any node may cancel a job", %{there: there} do
    # It is connected to this node, but not to the other.
    other = start_peer!()
    pool = start_pool!(threads: 1)
    [running] = occupy!(pool, 1)
    queued = Stevedore.async(pool, "sleep", %{ms: 1})
    remote = Stevedore.async(there, "sleep", %{ms: 60_000})

    for job <- [queued, running, remote] do
      assert run(other, Stevedore, :cancel, [job]) == :ok
      assert {:error, %Error{kind: :cancelled}} = Stevedore.await(job)
    end
  end

  test "on this node it is the plain path" do
    pool = start_pool!()
    assert %Job{remote: nil, worker: worker} = job = Stevedore.async({pool, node()}, "echo", 1)
    assert is_pid(worker)
    assert Stevedore.await(job) == {:ok, 1}
    assert {:error, %Error{kind: :unavailable}} = Stevedore.call({Nowhere, node()}, "echo", 1)
  end

  defp flush_progress(what) do
    receive do
      {:stevedore_progress, ^what, _, _} -> flush_progress(what)
      {^what, _, _} -> flush_progress(what)
    after
      0 -> :ok
    end
  end
end
