defmodule Stevedore.StoppingTest do
  use Stevedore.PoolCase, async: true

  # Draining a pool, and its stop with the application.

  describe "drain" do
    test "what runs finishes, what waits is given back, and nothing comes in" do
      pool = start_pool!(workers: 2, threads: 1)
      os_pids = for {_pid, os_pid} <- workers(pool), do: os_pid
      running = for _ <- 1..2, do: start_running!(pool, "sleep", %{ms: 1_500})
      waiting = for _ <- 1..5, do: Stevedore.async(pool, "sleep", %{ms: 60_000})
      drain = Task.async(fn -> Stevedore.drain(pool, timeout: 30_000) end)

      for job <- waiting do
        assert {:error, %Error{kind: :unavailable, message: message}} = Stevedore.await(job)
        assert message =~ "drain"
      end

      assert {:error, %Error{kind: :unavailable}} = Stevedore.call(pool, "sleep", %{ms: 1})
      assert Enum.map(running, &Stevedore.await/1) == [{:ok, nil}, {:ok, nil}]
      assert Task.await(drain, 30_000) == :ok
      for os_pid <- os_pids, do: refute(alive?(os_pid))

      assert {:ok, %{workers: [], deaths: deaths}} = Stevedore.stats(pool)
      assert deaths == %{}
      assert {:error, %Error{kind: :unavailable}} = Stevedore.call(pool, "ping", nil)
      refute_received _
    end

    test "what does not finish in time is asked to stop, and killed if it does not" do
      pool = start_fault_pool!(threads: 2)
      [{_pid, os_pid}] = workers(pool)
      [stops] = occupy!(pool, 1)
      hangs = start_running!(pool, "fault.hang", %{})
      assert Stevedore.drain(pool, timeout: 100) == :ok
      assert {:error, %Error{kind: :cancelled}} = Stevedore.await(stops)
      assert {:error, %Error{kind: kind}} = Stevedore.await(hangs)
      assert kind in [:lost, :cancelled]
      refute alive?(os_pid)
      refute_received _
    end

    test "what runs may have all the time it takes" do
      for timeout <- [:infinity, 2_147_483_647] do
        pool = start_pool!(threads: 1)
        job = start_running!(pool, "sleep", %{ms: 300})
        assert Stevedore.drain(pool, timeout: timeout) == :ok
        assert Stevedore.await(job) == {:ok, nil}
        assert {:ok, %{workers: [], deaths: deaths}} = Stevedore.stats(pool)
        assert deaths == %{}
      end
    end

    test "with a time that cannot be: nothing happens" do
      pool = start_pool!()
      before = workers(pool)

      for {options, text} <- [
            {[timeout: 3_000_000_000], "drain option :timeout must be ms from 0 to 2147483647"},
            {[timeout: -1], "got: -1"},
            {[timeout: nil], "got: nil"},
            {[nonsense: 1], ":nonsense"}
          ] do
        error = assert_raise ArgumentError, fn -> Stevedore.drain(pool, options) end
        assert error.message =~ text
      end

      assert workers(pool) == before
    end

    test "a worker that dies while it drains says of what it died" do
      pool = start_pool!()
      [{_pid, os_pid}] = workers(pool)
      forward_events(pool, [[:worker, :draining]])
      [job] = occupy!(pool, 1)
      drain = Task.async(fn -> Stevedore.drain(pool, timeout: 30_000) end)
      assert_receive {:event, [:worker, :draining], _, _}
      kill!(os_pid)
      assert {:error, %Error{kind: :lost, message: message}} = Stevedore.await(job)
      assert message =~ "SIGKILL"
      assert Task.await(drain, 30_000) == :ok
      assert {:ok, %{deaths: %{kill: 1}}} = Stevedore.stats(pool)
    end

    test "a drained pool can be drained again, and started" do
      pool = start_pool!(workers: 2)
      for _ <- 1..2, do: assert(Stevedore.drain(pool) == :ok)
      assert Stevedore.restart(pool) == :ok
      assert Stevedore.call(pool, "ping", nil) == {:ok, "pong"}
      await_ready(pool, 2)

      assert Stevedore.drain(pool) == :ok
      assert Stevedore.resize(pool, 1) == :ok
      assert Stevedore.call(pool, "ping", nil) == {:ok, "pong"}
      assert length(workers(pool)) == 1
    end

    test "a suspect that runs alone may finish, the others are not tried any more" do
      pool = start_pool!(threads: 2)
      [{_pid, os_pid}] = workers(pool)
      [alone, other] = for _ <- 1..2, do: start_running!(pool, "sleep", %{ms: 1_000})
      kill!(os_pid)
      {pid, os_pid} = isolated(pool)
      forward_events(pool, [[:worker, :draining]])
      drain = Task.async(fn -> Stevedore.drain(pool, timeout: 10_000) end)
      assert_receive {:event, [:worker, :draining], _, %{worker: ^pid}}
      assert {:error, %Error{kind: :lost, message: message}} = Stevedore.await(other)
      assert message =~ "drains"
      assert Stevedore.await(alone) == {:ok, nil}
      assert Task.await(drain) == :ok
      refute alive?(os_pid)
      refute_received {_ref, _message}
    end

    test "a suspect that goes on for longer is asked to stop" do
      pool = start_pool!(threads: 2)
      [{_pid, os_pid}] = workers(pool)
      jobs = for _ <- 1..2, do: start_running!(pool, "sleep", %{ms: 60_000})
      kill!(os_pid)
      {_pid, os_pid} = isolated(pool)
      assert Stevedore.drain(pool, timeout: 50) == :ok
      refute alive?(os_pid)

      for job <- jobs do
        assert {:error, %Error{kind: kind}} = Stevedore.yield(job, 0)
        assert kind in [:cancelled, :lost]
      end
    end

    test "resize/2 calls it off: who waits for its end has an answer, and other workers serve" do
      pool = start_pool!(threads: 1)
      forward_events(pool, [[:worker, :draining]])
      [job] = occupy!(pool, 1)
      drain = Task.async(fn -> Stevedore.drain(pool, timeout: 60_000) end)
      assert_receive {:event, [:worker, :draining], _, _}
      assert Stevedore.resize(pool, 1) == :ok
      assert Task.await(drain) == :ok
      assert Stevedore.call(pool, "ping", nil) == {:ok, "pong"}
      cancel_all([job])
    end

    test "restart/2 calls it off, too: the workers that come have its options" do
      pool = start_pool!(threads: 1, workers: 2)
      forward_events(pool, [[:worker, :draining]])
      [job] = occupy!(pool, 1)
      drain = Task.async(fn -> Stevedore.drain(pool, timeout: 60_000) end)
      for _ <- 1..2, do: assert_receive({:event, [:worker, :draining], _, _})
      assert Stevedore.restart(pool, plugins: [plugin("fault")]) == :ok
      assert Task.await(drain) == :ok
      assert length(workers(pool)) == 2
      assert Stevedore.call(pool, "fault.alloc", %{bytes: 1}) == {:ok, 1}
      cancel_all([job])
    end

    test "a restart that is under way, or waits for its turn, was not done, and says so" do
      pool = start_pool!(threads: 1, workers: 2)
      forward_events(pool, [[:worker, :draining]])
      jobs = occupy!(pool, 2)
      restarts = for _ <- 1..2, do: Task.async(fn -> Stevedore.restart(pool) end)
      assert_receive {:event, [:worker, :draining], _, _}
      # Both are known to the Manager when it drains.
      eventually(fn -> length(:sys.get_state(Module.concat(pool, Manager)).changes) == 1 end)
      drain = Task.async(fn -> Stevedore.drain(pool, timeout: 60_000) end)
      assert_receive {:event, [:worker, :draining], _, _}
      cancel_all(jobs)
      assert Task.await(drain) == :ok

      for restart <- restarts do
        assert {:error, %Error{kind: :unavailable, message: message}} = Task.await(restart)
        assert message =~ "drained"
      end

      assert {:ok, %{workers: [], draining: true}} = Stevedore.stats(pool)
    end

    test "a drained pool that is started with what does not start is drained again" do
      pool = start_pool!(workers: 2)
      assert Stevedore.drain(pool) == :ok
      result = Stevedore.restart(pool, executable: "/no/such/program")
      assert {:error, %Error{kind: :unavailable, message: message}} = result
      assert message =~ "no worker program at /no/such/program"
      assert {:ok, %{draining: true}} = Stevedore.stats(pool)
      assert {:error, %Error{message: message}} = Stevedore.call(pool, "ping", nil)
      assert message =~ "drain"

      # With the options of before, and all are ready when it returns.
      assert Stevedore.restart(pool) == :ok
      assert length(workers(pool)) == 2
    end

    test "several may ask for it" do
      pool = start_pool!()
      job = start_running!(pool, "sleep", %{ms: 1_500})
      tasks = for _ <- 1..3, do: Task.async(fn -> Stevedore.drain(pool) end)
      assert Task.await_many(tasks, 10_000) == [:ok, :ok, :ok]
      assert {:ok, nil} = Stevedore.await(job)
    end

    test "in the middle of a restart" do
      pool = start_pool!(workers: 3)
      forward_events(pool, [[:pool, :replace]])
      restart = Task.async(fn -> Stevedore.restart(pool) end)
      assert_receive {:event, [:pool, :replace], _, _}
      assert Stevedore.drain(pool) == :ok
      # It has an answer, too.
      _ = Task.await(restart, 10_000)
      assert {:ok, %{workers: []}} = Stevedore.stats(pool)
      assert {:error, %Error{kind: :unavailable}} = Stevedore.call(pool, "ping", nil)
    end

    test "no worker comes back while it goes on" do
      pool = start_pool!(workers: 2, threads: 1)

      [one, other] =
        for _ <- 1..2, do: start_running!(pool, "sleep", %{ms: 1_500}, idempotent: false)

      {_pid, os_pid} = List.keyfind(workers(pool), one.worker, 0)
      forward_events(pool, [[:worker, :ready], [:worker, :draining]])
      drain = Task.async(fn -> Stevedore.drain(pool) end)
      for _ <- 1..2, do: assert_receive({:event, [:worker, :draining], _, _})
      kill!(os_pid)
      assert {:error, %Error{kind: :lost}} = Stevedore.await(one)
      assert {:ok, nil} = Stevedore.await(other)
      assert Task.await(drain, 10_000) == :ok
      refute_received {:event, [:worker, :ready], _, _}
      assert workers(pool) == []
    end
  end

  describe "the stop of the pool" do
    test "all workers at once: running jobs finish, waiting ones are given back" do
      pool = start_pool!(workers: 3, threads: 1)
      os_pids = for {_pid, os_pid} <- workers(pool), do: os_pid
      running = for _ <- 1..3, do: start_running!(pool, "sleep", %{ms: 1_500})
      waiting = for _ <- 1..6, do: Stevedore.async(pool, "sleep", %{ms: 60_000})
      started = System.monotonic_time(:millisecond)
      :ok = stop_supervised(pool)
      # Not one after the other.
      assert System.monotonic_time(:millisecond) - started < 1_700
      for job <- running, do: assert(Stevedore.await(job) == {:ok, nil})
      for job <- waiting, do: assert({:error, %Error{kind: :unavailable}} = Stevedore.await(job))
      for os_pid <- os_pids, do: refute(alive?(os_pid))
      refute_received _
    end

    test "what outlasts drain_timeout is told that by its error, what was cancelled before is not" do
      pool = start_pool!(threads: 2, drain_timeout: 50)
      [outlasted, cancelled] = occupy!(pool, 2)
      :ok = Stevedore.cancel(cancelled)
      assert {:error, %Error{kind: :cancelled, details: details}} = Stevedore.await(cancelled)
      assert details == %{}
      :ok = stop_supervised(pool)
      assert {:error, %Error{kind: :cancelled, details: details}} = Stevedore.await(outlasted)
      assert details == %{"clock" => "drain_timeout"}
    end

    test "what hangs does not hold it up, and leaves nothing behind" do
      pool = start_fault_pool!(threads: 2, drain_timeout: 50)
      [{_pid, os_pid}] = workers(pool)
      jobs = for _ <- 1..2, do: start_running!(pool, "fault.hang", %{})
      :ok = stop_supervised(pool)

      for job <- jobs do
        assert {:error, %Error{kind: kind}} = Stevedore.await(job)
        assert kind in [:lost, :cancelled]
      end

      refute alive?(os_pid)
      assert :ets.whereis(pool) == :undefined
      refute_received _
    end

    test "because its roster dies: running jobs finish all the same, waiting ones are given back" do
      pool = start_pool!(threads: 1)
      running = start_running!(pool, "sleep", %{ms: 500}, idempotent: false)
      waiting = Stevedore.async(pool, "sleep", %{ms: 60_000}, idempotent: false)
      eventually(fn -> queued(pool) == 1 end)
      monitor = Process.monitor(running.worker)
      Process.exit(Process.whereis(Module.concat(pool, Roster)), :kill)
      assert Stevedore.await(running) == {:ok, nil}
      assert {:error, %Error{kind: :unavailable}} = Stevedore.await(waiting)
      assert_receive {:DOWN, ^monitor, :process, _pid, :shutdown}
      eventually(fn -> Stevedore.call(pool, "echo", 1) == {:ok, 1} end)
      refute_received _
    end

    test "not because of a message that nobody knows" do
      pool = start_pool!()
      before = workers(pool)
      roster = Process.whereis(Module.concat(pool, Roster))
      send(roster, :nobody_knows_this)
      _state = :sys.get_state(roster)
      assert workers(pool) == before
      assert Stevedore.call(pool, "echo", 1) == {:ok, 1}
    end

    test "what waits for a worker is refused" do
      pool = start_pool!(backoff_min: 60_000, backoff_max: 60_000)
      forward_events(pool, [[:pool, :restart]])
      [{_pid, os_pid}] = workers(pool)
      kill!(os_pid)
      assert_receive {:event, [:pool, :restart], _, _}
      await_ready(pool, 1)
      [{_pid, os_pid}] = workers(pool)
      kill!(os_pid)
      assert_receive {:event, [:pool, :restart], %{delay_ms: delay}, _} when delay > 0
      job = Stevedore.async(pool, "sleep", %{ms: 1})
      assert {:ok, %{waiting: 1}} = Stevedore.stats(pool)
      :ok = stop_supervised(pool)
      assert {:error, %Error{kind: :unavailable}} = Stevedore.await(job)
      refute_received _
    end
  end
end
