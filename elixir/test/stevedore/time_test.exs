defmodule Stevedore.TimeTest do
  use Stevedore.PoolCase, async: true

  # The clocks: what each of them does to the job it is for, to its neighbours, and to the worker.

  defp events(pool) do
    forward_events(pool, [
      [:worker, :wounded],
      [:worker, :ready],
      [:worker, :stop],
      [:job, :moved]
    ])
  end

  describe "a job that does not stop" do
    test "its caller has its error in time, and the stack" do
      pool = start_fault_pool!(threads: 2)

      for args <- [%{}, %{mode: "busy"}, %{ms: 60_000}] do
        started = System.monotonic_time(:millisecond)

        assert {:error, %Error{kind: :timed_out} = error} =
                 Stevedore.call(pool, "fault.hang", args, timeout: 100, kill_after: 100)

        # Not before its time; the upper bound has a loaded machine in mind.
        assert (System.monotonic_time(:millisecond) - started) in 200..1_500
        assert %{"clock" => "kill_after", "stack" => stack} = error.details
        assert Enum.any?(stack, &(&1 =~ "hang_"))
        assert error.receipt.ran_us >= 200_000
      end

      eventually(fn -> match?({:ok, %{deaths: %{stuck_job: 3}}}, Stevedore.stats(pool)) end)
      refute_received _
    end

    test "its neighbours finish, what waited moves, and another serves before it is gone" do
      pool = start_fault_pool!(threads: 3, drain_timeout: 10_000)
      [{pid, os_pid}] = workers(pool)
      events(pool)
      neighbour = start_running!(pool, "sleep", %{ms: 3_000})
      hanging = start_running!(pool, "fault.hang", %{}, timeout: 100, kill_after: 100)
      [stopping] = occupy!(pool, 1, timeout: 2_500)
      waiting = Stevedore.async(pool, "fault.alloc", %{bytes: 1}, priority: 9)

      assert {:error, %Error{kind: :timed_out}} = Stevedore.await(hanging)
      assert_receive {:event, [:worker, :wounded], %{in_flight: _}, %{worker: ^pid}}
      # It moved, and did not wait for the neighbours.
      assert {:ok, 1} = Stevedore.await(waiting)
      assert Stevedore.yield(neighbour, 0) == nil
      assert_received {:event, [:job, :moved], _, %{why: :wounded}}
      assert alive?(os_pid)

      assert_receive {:event, [:worker, :ready], _, %{worker: other}}
      refute_received {:event, [:worker, :stop], _, _}
      assert {:ok, nil} = Stevedore.await(neighbour)
      assert {:error, %Error{kind: :timed_out}} = Stevedore.await(stopping)

      assert_receive {:event, [:worker, :stop], %{in_flight: 1}, %{worker: ^pid} = stopped}
      assert stopped.cause == :stuck_job
      refute alive?(os_pid)
      assert [{^other, _os_pid}] = workers(pool)
      refute_received {_ref, _message}
    end

    test "its neighbours have drain_timeout, and are victims then" do
      pool = start_fault_pool!(threads: 3, drain_timeout: 200)
      [idempotent, lost] = for i <- [true, false], do: hang_on(pool, i)
      hanging = start_running!(pool, "fault.hang", %{}, timeout: 50, kill_after: 50)
      assert {:error, %Error{kind: :timed_out}} = Stevedore.await(hanging)
      assert {:error, %Error{kind: :lost} = error} = Stevedore.await(lost)
      assert error.message =~ "would not stop"
      # Once more, in the next worker.
      assert {:ok, nil} = Stevedore.await(idempotent)
      refute_received _
    end

    defp hang_on(pool, idempotent?) do
      start_running!(pool, "fault.hang", %{ms: 1_000}, idempotent: idempotent?)
    end

    test "after a cancel too" do
      pool = start_fault_pool!(threads: 1, kill_after: 50)
      hanging = start_running!(pool, "fault.hang", %{})
      :ok = Stevedore.cancel(hanging)
      assert {:error, %Error{kind: :cancelled} = error} = Stevedore.await(hanging)
      assert Enum.any?(error.details["stack"], &(&1 =~ "hang_"))
      assert {:ok, 1} = Stevedore.call(pool, "fault.alloc", %{bytes: 1})
      refute_received _
    end

    test "when its caller has died: its worker is replaced all the same" do
      pool = start_fault_pool!(threads: 1, kill_after: 50)
      [{pid, _os_pid}] = workers(pool)
      events(pool)
      {caller, monitor} = spawn_monitor(fn -> start_running!(pool, "fault.hang", %{}) end)
      assert_receive {:DOWN, ^monitor, :process, ^caller, :normal}
      assert_receive {:event, [:worker, :stop], _, %{worker: ^pid, cause: :stuck_job}}
      assert {:ok, 1} = Stevedore.call(pool, "fault.alloc", %{bytes: 1})
    end

    test "kill_after is the call's own, or the pool's" do
      pool = start_fault_pool!(threads: 2, kill_after: 60_000)
      patient = start_running!(pool, "fault.hang", %{ms: 600}, timeout: 50)

      assert {:error, %Error{kind: :timed_out, details: %{"clock" => "kill_after"}}} =
               Stevedore.call(pool, "fault.hang", %{}, timeout: 50, kill_after: 50)

      # It came back after all, and what it says counts.
      assert {:ok, nil} = Stevedore.await(patient)
      refute_received _
    end

    test "one that ends within kill_after costs nothing" do
      pool = start_fault_pool!(threads: 1, kill_after: 60_000)
      [worker] = workers(pool)

      assert {:ok, nil} = Stevedore.call(pool, "fault.hang", %{ms: 200}, timeout: 20)
      assert Stevedore.call(pool, "ping", nil) == {:ok, "pong"}
      assert workers(pool) == [worker]
    end
  end

  describe "queue_timeout" do
    test "while all threads are busy" do
      pool = start_pool!(threads: 1)
      busy = occupy!(pool, 1)

      assert {:error, %Error{kind: :queue_timeout, receipt: receipt, details: details}} =
               Stevedore.call(pool, "sleep", %{ms: 1}, queue_timeout: 30)

      assert receipt.ran_us == 0 and receipt.queued_us >= 30_000
      assert details["limit_ms"] == 30
      cancel_all(busy)
      refute_received _
    end

    test "while no worker is ready" do
      pool = start_pool!(backoff_min: 60_000, backoff_max: 60_000)
      forward_events(pool, [[:pool, :restart]])
      lose_worker(pool)

      assert {:error, %Error{kind: :queue_timeout} = error} =
               Stevedore.call(pool, "ping", nil, queue_timeout: 30)

      assert %{"clock" => "queue_timeout", "waited_ms" => waited} = error.details
      assert waited >= 30
      assert error.receipt.ran_us == 0
      refute_received _
    end

    # The only one, and the next but one waits: twice it ends without having had a job.
    defp lose_worker(pool) do
      [{_pid, os_pid}] = workers(pool)
      kill!(os_pid)
      assert_receive {:event, [:pool, :restart], %{delay_ms: 0}, _}
      await_ready(pool, 1)
      [{_pid, os_pid}] = workers(pool)
      kill!(os_pid)
      assert_receive {:event, [:pool, :restart], %{delay_ms: delay}, _}
      assert delay > 0
      eventually(fn -> workers(pool) == [] end)
    end

    test "a job that waits for a worker is counted, can be cancelled, and goes by priority" do
      pool = start_pool!(threads: 1, backoff_min: 1_500, backoff_max: 1_500)
      forward_events(pool, [[:pool, :restart], [:job, :moved]])
      lose_worker(pool)
      test = self()
      cancelled = Stevedore.async(pool, "sleep", %{ms: 1})
      jobs = for priority <- [9, 5, 0], do: {priority, tell_when_done(pool, priority, test)}
      for {_priority, pid} <- jobs, do: assert_receive({:started, ^pid})
      assert {:ok, %{waiting: 4, workers: []}} = Stevedore.stats(pool)
      :ok = Stevedore.cancel(cancelled)
      assert {:error, %Error{kind: :cancelled}} = Stevedore.await(cancelled)
      order = for _ <- jobs, do: assert_receive({:done, _priority}) |> elem(1)
      assert order == [0, 5, 9]
    end

    defp tell_when_done(pool, priority, test) do
      spawn_link(fn ->
        job = Stevedore.async(pool, "sleep", %{ms: 20}, priority: priority)
        send(test, {:started, self()})
        {:ok, nil} = Stevedore.await(job)
        send(test, {:done, priority})
      end)
    end

    test "a job whose caller died while it waited for a worker does not begin" do
      pool = start_pool!(backoff_min: 300, backoff_max: 300)
      forward_events(pool, [[:pool, :restart]])
      lose_worker(pool)
      {caller, monitor} = spawn_monitor(fn -> Stevedore.async(pool, "sleep", %{ms: 60_000}) end)
      assert_receive {:DOWN, ^monitor, :process, ^caller, :normal}
      forward_events(pool, [[:job, :moved], [:job, :exception]])
      assert {:ok, %{waiting: 1}} = Stevedore.stats(pool)

      # What waits behind it does.
      assert Stevedore.call(pool, "ping", nil) == {:ok, "pong"}
      assert_received {:event, [:job, :moved], _, %{op: "ping"}}
      assert_received {:event, [:job, :exception], _, %{op: "sleep", reason: error}}
      assert %Error{kind: :cancelled, message: "its caller died"} = error
      refute_received {:event, _, _, %{op: "sleep"}}
    end

    test "what a waiting job costs does not depend on how many wait" do
      pool = start_pool!(backoff_min: 60_000, backoff_max: 60_000)
      forward_events(pool, [[:pool, :restart]])
      lose_worker(pool)
      assert cost_of_waiting(pool, 4_000) < 3 * cost_of_waiting(pool, 500)
    end

    # Reductions in the Dispatcher for each of so many that wait and are cancelled.
    defp cost_of_waiting(pool, count) do
      dispatcher = Stevedore.Dispatcher.whereis(pool)
      {:reductions, before} = Process.info(dispatcher, :reductions)
      jobs = for _ <- 1..count, do: Stevedore.async(pool, "ping", nil)
      for result <- cancel_all(jobs), do: assert({:error, %Error{kind: :cancelled}} = result)
      {:reductions, now} = Process.info(dispatcher, :reductions)
      (now - before) / count
    end

    test "one that had to wait for a worker can be cancelled when it runs" do
      pool = start_pool!(threads: 1, backoff_min: 300, backoff_max: 300)
      forward_events(pool, [[:pool, :restart]])
      lose_worker(pool)
      job = start_running!(pool, "sleep", %{ms: 60_000})
      :ok = Stevedore.cancel(job)
      assert {:error, %Error{kind: :cancelled}} = Stevedore.yield(job, 5_000)
      refute_received _
    end

    test "what has been waited stays waited when a job moves" do
      pool = start_pool!(threads: 1)
      [{_pid, os_pid}] = workers(pool)
      [busy] = occupy!(pool, 1)
      first = Stevedore.async(pool, "sleep", %{ms: 60_000}, priority: 0)
      job = Stevedore.async(pool, "sleep", %{ms: 1}, queue_timeout: 1_000)
      assert Stevedore.yield(job, 200) == nil
      kill!(os_pid)
      assert {:error, %Error{kind: :lost}} = Stevedore.await(busy)
      assert {:error, %Error{kind: :queue_timeout, details: details}} = Stevedore.await(job)
      assert details["limit_ms"] in 1..800
      cancel_all([first])
      refute_received _
    end
  end

  describe "a worker that says nothing" do
    test "because it is stopped: its callers give up, and it is killed" do
      pool = start_pool!(threads: 2)
      [{pid, os_pid}] = workers(pool)
      forward_events(pool, [[:worker, :stop]])
      kill!(os_pid, "STOP")
      limits = [timeout: 10, queue_timeout: 10, kill_after: 10]

      assert {:error, %Error{kind: :timed_out, details: %{"clock" => "limit"}}} =
               Stevedore.call(pool, "sleep", %{ms: 1}, limits)

      assert_receive {:event, [:worker, :stop], _, %{worker: ^pid, cause: :unresponsive}}
      refute alive?(os_pid)
      assert Stevedore.call(pool, "echo", 1) == {:ok, 1}
      refute_received _
    end

    test "and reads nothing, with megabytes on their way to it: it is killed all the same" do
      {pool, pid, os_pid} = stopped_pool!()
      limits = [timeout: 10, queue_timeout: 10, kill_after: 10]
      data = :binary.copy("x", 1_000_000)
      jobs = for _ <- 1..10, do: Stevedore.async(pool, "echo", data, limits)
      for job <- jobs, do: assert({:error, %Error{kind: :timed_out}} = Stevedore.await(job))
      assert_receive {:event, [:worker, :stop], _, %{worker: ^pid, cause: :unresponsive}}
      refute alive?(os_pid)
      assert Stevedore.call(pool, "echo", 1) == {:ok, 1}
      refute_received _
    end

    test "and reads nothing: it is gone when its pool has drained" do
      {pool, pid, os_pid} = stopped_pool!()
      data = :binary.copy("x", 1_000_000)
      jobs = for _ <- 1..10, do: Stevedore.async(pool, "echo", data)
      assert Stevedore.drain(pool, timeout: 0) == :ok
      for job <- jobs, do: assert({:error, %Error{kind: :unavailable}} = Stevedore.await(job))
      assert_receive {:event, [:worker, :stop], _, %{worker: ^pid, cause: :drain_timeout}}
      refute alive?(os_pid)
      refute_received _
    end

    defp stopped_pool! do
      pool = start_pool!(threads: 2)
      [{pid, os_pid}] = workers(pool)
      forward_events(pool, [[:worker, :stop]])
      kill!(os_pid, "STOP")
      {pool, pid, os_pid}
    end

    test "what waited in it goes on elsewhere" do
      pool = start_fault_pool!(threads: 1)
      [{_pid, os_pid}] = workers(pool)
      [busy] = occupy!(pool, 1)
      kill!(os_pid, "STOP")
      waiting = Stevedore.async(pool, "fault.alloc", %{bytes: 1})
      limits = [timeout: 10, queue_timeout: 10, kill_after: 10]
      assert {:error, %Error{kind: :timed_out}} = Stevedore.call(pool, "sleep", %{ms: 1}, limits)
      assert {:ok, 1} = Stevedore.await(waiting)
      assert {:error, %Error{kind: :lost}} = Stevedore.await(busy)
      refute_received _
    end
  end
end
