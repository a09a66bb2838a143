defmodule StevedoreTest do
  use Stevedore.PoolCase, async: true

  describe "call" do
    test "runs an op and returns its result" do
      pool = start_pool!()

      assert Stevedore.call(pool, "echo", %{a: [1, "two", 3.0, nil]}) ==
               {:ok, %{a: [1, "two", 3.0, nil]}}

      assert Stevedore.call(pool, :ping, nil) == {:ok, "pong"}
      assert Stevedore.call!(pool, "echo", 1) == 1
    end

    test "hashes as :crypto does" do
      pool = start_pool!()
      data = :crypto.strong_rand_bytes(100_000)

      assert Stevedore.call!(pool, "digest", %{algorithm: "sha256", data: data}) ==
               Base.encode16(:crypto.hash(:sha256, data), case: :lower)
    end

    test "carries large binaries both ways" do
      pool = start_pool!()
      data = :crypto.strong_rand_bytes(5_000_000)
      assert Stevedore.call!(pool, "echo", data) == data
      assert Stevedore.call!(pool, "echo", [data, 1]) == [data, 1]
    end

    test "an error says which op, where, and what the worker measured" do
      pool = start_pool!()
      assert {:error, %Error{kind: :unknown_op} = error} = Stevedore.call(pool, "dogest", nil)
      assert %{op: "dogest", pool: ^pool, worker: worker, details: %{"op" => "dogest"}} = error
      assert is_pid(worker)
      assert %{queued_us: _, ran_us: 0, cpu_us: _} = error.receipt
      assert_raise Error, ~r/unknown_op: .*dogest/, fn -> Stevedore.call!(pool, "dogest", nil) end
    end

    test "arguments that the worker cannot take are a bad_request (PROTOCOL §9.1)" do
      pool = start_pool!()
      assert {:error, %Error{kind: :bad_request}} = Stevedore.call(pool, "echo", self())
      assert Stevedore.call(pool, "ping", nil) == {:ok, "pong"}
    end

    test "a wrong op or option raises, with the process as before" do
      pool = start_pool!()
      assert_raise ArgumentError, ~r/an op must be/, fn -> Stevedore.call(pool, "", nil) end

      assert_raise ArgumentError, ~r/:timeout .* got: 0/, fn ->
        Stevedore.call(pool, "ping", nil, timeout: 0)
      end

      refute_received _
    end

    test "a request over the limit never leaves (PROTOCOL §10)" do
      pool = start_pool!(max_frame: 65_536)
      data = :binary.copy("x", 65_536)

      assert {:error, %Error{kind: :too_large, details: %{"limit" => 65_536}}} =
               Stevedore.call(pool, "echo", data)

      # Many that are just small enough to be in one batch together, if a batch were not bounded.
      data = :binary.copy("x", 30_000)
      jobs = for _ <- 1..6, do: Stevedore.async(pool, "echo", data)
      assert Enum.all?(jobs, &(Stevedore.await(&1) == {:ok, data}))
    end

    test "there is no pool of that name" do
      assert {:error, %Error{kind: :unavailable, pool: No.Such.Pool} = error} =
               Stevedore.call(No.Such.Pool, "ping", nil)

      assert Exception.message(error) =~ "is it started?"
      assert_raise ArgumentError, fn -> Stevedore.call(No.Such.Pool, "ping", nil, 5_000) end

      for pool <- [self(), "NotYet"] do
        assert {:error, %Error{kind: :unavailable, message: message}} =
                 Stevedore.call(pool, "ping", nil)

        assert message =~ "by its name, an atom"
      end
    end

    test "options that are none raise, and say what may be meant" do
      pool = start_pool!()

      assert_raise ArgumentError, ~r/got: 5000: did you mean timeout: 5000\?/, fn ->
        Stevedore.call(pool, "echo", 1, 5_000)
      end

      assert_raise ArgumentError, ~r/:timout .*did you mean :timeout\?/, fn ->
        Stevedore.call(pool, "echo", 1, timout: 5)
      end
    end
  end

  describe "time" do
    test "timeout ends a running job" do
      pool = start_pool!()

      assert {:error, %Error{kind: :timed_out, details: %{"limit_ms" => 20}}} =
               Stevedore.call(pool, "sleep", %{ms: 60_000}, timeout: 20)
    end

    test "queue_timeout ends one that waits" do
      pool = start_pool!(threads: 1)
      running = Stevedore.async(pool, "sleep", %{ms: 60_000})

      assert {:error, %Error{kind: :queue_timeout, receipt: %{ran_us: 0}}} =
               Stevedore.call(pool, "sleep", %{ms: 1}, queue_timeout: 20)

      :ok = Stevedore.cancel(running)
      assert {:error, %Error{kind: :cancelled}} = Stevedore.await(running)
    end

    test "a worker that keeps no limits is given up on" do
      pool = start_fixture!("never_answers", kill_after: 1)

      assert {:error, %Error{kind: :timed_out, details: %{"limit_ms" => 1_003}} = error} =
               Stevedore.call(pool, "echo", 1, timeout: 1, queue_timeout: 1)

      assert error.message =~ "queue_timeout + timeout + kill_after"
      refute_received _
    end
  end

  describe "async" do
    test "jobs run while the caller does something else" do
      pool = start_pool!(threads: 2)
      jobs = for n <- 1..10, do: Stevedore.async(pool, "echo", n)
      assert Enum.map(jobs, &Stevedore.await!/1) == Enum.to_list(1..10)
      refute_received _
    end

    test "yield returns nil until there is a result" do
      pool = start_pool!()
      job = Stevedore.async(pool, "sleep", %{ms: 60_000})
      assert Stevedore.yield(job, 0) == nil
      assert Stevedore.yield(job, 1) == nil
      :ok = Stevedore.cancel(job)
      assert {:error, %Error{kind: :cancelled}} = Stevedore.yield(job, :infinity)
    end

    test "a job has one result: who waits for another is told at once" do
      pool = start_pool!()

      for job <- [Stevedore.async(pool, "echo", 1), Stevedore.async(No.Such.Pool, "echo", 1)],
          first <- [Stevedore.await(job)] do
        assert {_ok_or_error, _} = first
        assert_raise ArgumentError, ~r/has been awaited/, fn -> Stevedore.await(job) end
        assert_raise ArgumentError, ~r/has been awaited/, fn -> Stevedore.yield(job, 0) end
      end

      job = Stevedore.async(pool, "echo", 1)
      assert Stevedore.yield(job) == {:ok, 1}
      assert_raise ArgumentError, ~r/has been awaited/, fn -> Stevedore.await(job) end
    end

    test "any process can cancel, only the owner can await" do
      pool = start_pool!()
      job = Stevedore.async(pool, "sleep", %{ms: 60_000})

      fn ->
        assert_raise ArgumentError, ~r/only the process/, fn -> Stevedore.await(job) end
        Stevedore.cancel(job)
      end
      |> Task.async()
      |> Task.await()

      assert {:error, %Error{kind: :cancelled}} = Stevedore.await(job)
    end

    test "cancelling what is done does nothing" do
      pool = start_pool!()
      job = Stevedore.async(pool, "echo", 1)
      assert Stevedore.await(job) == {:ok, 1}
      assert Stevedore.cancel(job) == :ok
      assert Stevedore.call(pool, "echo", 2) == {:ok, 2}
      refute_received _
    end

    test "cancelling twice or a settled job does no harm" do
      job = Stevedore.async(No.Such.Pool, "echo", 1)
      assert Stevedore.cancel(job) == :ok
      assert {:error, %Error{kind: :unavailable}} = Stevedore.await(job)
    end

    test "the death of its caller cancels a job" do
      pool = start_pool!(threads: 1)
      test = self()

      {caller, monitor} =
        spawn_monitor(fn ->
          send(test, {:job, Stevedore.async(pool, "sleep", %{ms: 60_000})})
          Process.sleep(:infinity)
        end)

      assert_receive {:job, %Job{}}
      Process.exit(caller, :kill)
      assert_receive {:DOWN, ^monitor, :process, ^caller, :killed}

      # The one thread is free again.
      assert {:ok, _} = Stevedore.call(pool, "sleep", %{ms: 1})
      assert {:ok, %{workers: [%{native: native}]}} = Stevedore.stats(pool)
      assert %{"cancelled" => 1, "running" => 0} = native
    end
  end

  describe "progress" do
    test "goes to a process, with the job's reference" do
      pool = start_pool!()

      job =
        Stevedore.async(pool, "sleep", %{ms: 60_000}, on_progress: self(), progress_interval: 1)

      ref = job.ref
      assert_receive {:stevedore_progress, ^ref, done, total}, 5_000
      assert is_integer(done) and is_integer(total)
      :ok = Stevedore.cancel(job)
      assert {:error, %Error{kind: :cancelled}} = Stevedore.await(job)
    end

    test "or to a function in the waiting process" do
      pool = start_pool!()
      test = self()

      report = fn done, total ->
        assert self() == test
        send(test, {:seen, done, total})
      end

      assert {:ok, _} =
               Stevedore.call(pool, "sleep", %{ms: 100},
                 on_progress: report,
                 progress_interval: 1
               )

      assert_received {:seen, _done, _total}
      flush_seen()
      refute_received _
    end

    test "a function that raises cancels its job" do
      pool = start_pool!(threads: 1)
      report = fn _done, _total -> raise "stop it" end

      assert_raise RuntimeError, "stop it", fn ->
        Stevedore.call(pool, "sleep", %{ms: 60_000}, on_progress: report, progress_interval: 1)
      end

      assert {:ok, _} = Stevedore.call(pool, "sleep", %{ms: 1})
      refute_received _
    end

    defp flush_seen do
      receive do
        {:seen, _, _} -> flush_seen()
      after
        0 -> :ok
      end
    end
  end

  describe "pools" do
    test "tell what they are made of" do
      pool = start_pool!(workers: 2, threads: 3)
      assert %{name: ^pool, workers: [first, second]} = Stevedore.info(pool)
      assert %{threads: 3, in_flight: 0, version: _} = first
      assert first.os_pid != second.os_pid
      assert alive?(first.os_pid) and alive?(second.os_pid)
    end

    test "that are not there: an error from what has one, else ArgumentError" do
      for pool <- [No.Such.Pool, "pool"] do
        assert {:error, %Error{kind: :unavailable}} = Stevedore.restart(pool)
        assert {:error, %Error{kind: :unavailable}} = Stevedore.stats(pool)
        assert {:error, %Error{kind: :unavailable}} = Stevedore.ops(pool)

        for fun <- [
              &Stevedore.info/1,
              &Stevedore.drain/1,
              &Stevedore.release/1,
              &Stevedore.resize(&1, 2)
            ],
            do: assert_raise(ArgumentError, ~r/no pool|by its name/, fn -> fun.(pool) end)
      end
    end

    test "tell their ops and counters" do
      pool = start_pool!(workers: 2)
      assert {:ok, ops} = Stevedore.ops(pool)
      assert "echo" in Enum.map(ops, & &1["name"])
    end

    test "tell their condition, busy or not" do
      pool = start_pool!(workers: 2, threads: 1)
      jobs = occupy!(pool, 2) ++ [Stevedore.async(pool, "sleep", %{ms: 60_000})]
      assert {:ok, stats} = Stevedore.stats(pool)
      assert %{circuit: :closed, waiting: 0, quarantined: [], deaths: deaths} = stats
      assert deaths == %{}

      for worker <- stats.workers do
        assert %{state: :ready, os_pid: _, in_flight: _, native: %{"running" => 1}} = worker
      end

      assert Enum.sort(workers(pool)) == Enum.sort(for(w <- stats.workers, do: {w.pid, w.os_pid}))
      Enum.each(jobs, &Stevedore.cancel/1)
      assert Enum.all?(jobs, &match?({:error, %Error{kind: :cancelled}}, Stevedore.await(&1)))
      assert {:error, %Error{kind: :unavailable}} = Stevedore.stats(No.Such.Pool)
    end

    test "spread jobs over their workers" do
      pool = start_pool!(workers: 2, threads: 1)
      jobs = for _ <- 1..2, do: Stevedore.async(pool, "sleep", %{ms: 60_000})
      assert length(Enum.uniq_by(jobs, & &1.worker)) == 2
      Enum.each(jobs, &Stevedore.cancel/1)
      assert Enum.all?(jobs, &match?({:error, %Error{kind: :cancelled}}, Stevedore.await(&1)))
    end

    test "serve many callers at once" do
      pool = start_pool!(workers: 2)

      results =
        1..128
        |> Task.async_stream(
          fn caller ->
            for n <- 1..80, do: {:ok, {^caller, ^n}} = Stevedore.call(pool, "echo", {caller, n})
          end,
          max_concurrency: 128,
          timeout: :infinity
        )
        |> Enum.to_list()

      assert length(results) == 128 and Enum.all?(results, &match?({:ok, _}, &1))

      # The load is what the workers last knew, which may be before the last reply; a call later it is 0.
      assert {:ok, _} = Stevedore.stats(pool)
      assert Enum.all?(Stevedore.info(pool).workers, &(&1.in_flight == 0))
    end

    test "let running jobs finish when they stop, and leave no process behind" do
      pool = start_pool!(drain_timeout: 30_000)
      [{_pid, os_pid}] = workers(pool)
      job = Stevedore.async(pool, "sleep", %{ms: 300}, on_progress: self(), progress_interval: 1)
      assert_receive {:stevedore_progress, _ref, _done, _total}
      :ok = stop_supervised(pool)
      assert {:ok, _} = Stevedore.await(job)
      refute alive?(os_pid)
      assert {:error, %Error{kind: :unavailable}} = Stevedore.call(pool, "ping", nil)
    end

    test "cancel what does not finish within drain_timeout" do
      pool = start_pool!(drain_timeout: 0, threads: 1)
      [{_pid, os_pid}] = workers(pool)
      [running] = occupy!(pool, 1)
      queued = Stevedore.async(pool, "sleep", %{ms: 60_000})
      :ok = stop_supervised(pool)
      assert {:error, %Error{kind: :cancelled}} = Stevedore.await(running)
      # It never started, and there is nobody else.
      assert {:error, %Error{kind: :unavailable}} = Stevedore.await(queued)
      refute alive?(os_pid)
    end

    test "survive the death of their manager with the same workers" do
      pool = start_pool!(workers: 2)
      before = Enum.sort(workers(pool))
      manager = Process.whereis(Module.concat(pool, Manager))
      monitor = Process.monitor(manager)
      Process.exit(manager, :kill)
      assert_receive {:DOWN, ^monitor, :process, ^manager, :killed}
      assert Stevedore.call(pool, "ping", nil) == {:ok, "pong"}
      assert Enum.sort(workers(pool)) == before
    end

    test "are children of any supervisor, by their name" do
      assert %{id: A.Pool, type: :supervisor} = Stevedore.child_spec(name: A.Pool)
    end
  end
end
