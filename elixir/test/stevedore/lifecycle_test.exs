defmodule Stevedore.LifecycleTest do
  use Stevedore.PoolCase, async: true

  # Planned ends while the pool goes on: recycling, restarts, other sizes.

  @worker [[:worker, :ready], [:worker, :draining], [:worker, :stop], [:pool, :replace]]

  # Runs calls from several processes until told to stop, and returns the results that were not `{:ok, _}`.
  defp under_load(pool, fun) do
    stop = :atomics.new(1, [])

    callers =
      for n <- 1..4,
          do: Task.async(fn -> call_until(pool, n, fn -> :atomics.get(stop, 1) == 1 end, []) end)

    result = fun.()
    :atomics.put(stop, 1, 1)
    {result, callers |> Task.await_many(30_000) |> List.flatten()}
  end

  defp call_until(pool, n, stop?, bad) do
    result = Stevedore.call(pool, "sleep", %{ms: n})

    cond do
      result != {:ok, nil} -> call_until(pool, n, stop?, [result | bad])
      stop?.() -> bad
      true -> call_until(pool, n, stop?, bad)
    end
  end

  # The fewest workers that were ready at once, by the events up to now.
  defp fewest_ready(now, fewest \\ :none) do
    receive do
      {:event, [:worker, :ready], _, _} -> fewest_ready(now + 1, min(fewest, now))
      {:event, [:worker, :draining], _, _} -> fewest_ready(now - 1, min(fewest, now - 1))
      {:event, _other, _, _} -> fewest_ready(now, fewest)
    after
      0 -> min(fewest, now)
    end
  end

  defp ops(pool) do
    {:ok, ops} = Stevedore.ops(pool)
    for op <- ops, do: op["name"]
  end

  describe "a worker is replaced, the new one ready before the old one drains" do
    defp assert_replaced(pool, old, why) do
      assert_receive {:event, [:pool, :replace], _, %{worker: ^old, why: ^why}}
      assert_receive {:event, [:worker, :ready], _, %{worker: other}}
      assert_receive {:event, [:worker, :draining], _, %{worker: ^old}}
      assert_receive {:event, [:worker, :stop], %{in_flight: 0}, %{worker: ^old, cause: :drained}}
      assert [{^other, _}] = workers(pool)
      assert {:ok, %{deaths: deaths}} = Stevedore.stats(pool)
      assert deaths == %{}
    end

    test "after max_jobs" do
      pool = start_pool!(max_jobs: 10)
      [{old, _}] = workers(pool)
      forward_events(pool, @worker)
      for n <- 1..10, do: assert({:ok, ^n} = Stevedore.call(pool, "echo", n))
      assert_replaced(pool, old, :max_jobs)
    end

    test "at max_age, whatever it does" do
      pool = unique_name()
      forward_events(pool, @worker)
      ^pool = start_pool!(name: pool, max_age: 400)
      assert_received {:event, [:worker, :ready], _, %{worker: old}}
      job = Stevedore.async(pool, "sleep", %{ms: 700})
      assert_replaced(pool, old, :max_age)
      assert {:ok, nil} = Stevedore.await(job)
    end

    test "after max_idle, if it has had a job" do
      pool = start_pool!(max_idle: 100)
      [{old, _}] = workers(pool)
      forward_events(pool, @worker)
      assert Stevedore.call(pool, "echo", 1) == {:ok, 1}
      assert_replaced(pool, old, :max_idle)
      # That one has had none but the questions of this test.
    end

    test "above max_rss" do
      pool = start_fault_pool!(max_rss: 64 * 1024 * 1024, threads: 1)
      [{old, _}] = workers(pool)
      forward_events(pool, @worker)
      assert {:ok, _} = Stevedore.call(pool, "fault.leak", %{bytes: 100 * 1024 * 1024})
      assert_replaced(pool, old, :max_rss)
    end

    test "never two at once" do
      pool = unique_name()
      forward_events(pool, @worker)
      ^pool = start_pool!(name: pool, workers: 3, max_age: 300)
      {most, bad} = under_load(pool, fn -> most_replaced_at_once(6, 0, 0) end)
      assert {most, bad} == {1, []}
    end

    # How many replacements are under way at once, up to that many ends.
    defp most_replaced_at_once(0, _now, most), do: most

    defp most_replaced_at_once(ends, now, most) do
      assert_receive {:event, [scope, what], _, _} when what in [:replace, :stop]

      if scope == :pool,
        do: most_replaced_at_once(ends, now + 1, max(now + 1, most)),
        else: most_replaced_at_once(ends - 1, now - 1, most)
    end
  end

  test "above kill_rss it is killed, and nobody is to blame" do
    pool = start_fault_pool!(kill_rss: 64 * 1024 * 1024, threads: 2)
    [{old, os_pid}] = workers(pool)
    forward_events(pool, @worker)
    [running] = occupy!(pool, 1)
    assert {:ok, _} = Stevedore.call(pool, "fault.leak", %{bytes: 100 * 1024 * 1024})
    assert {:error, %Error{kind: :lost, message: message}} = Stevedore.await(running)
    assert message =~ ":kill_rss"
    assert_receive {:event, [:worker, :stop], %{in_flight: 1}, %{worker: ^old, cause: :kill_rss}}
    refute alive?(os_pid)
    assert {:ok, 1} = Stevedore.call(pool, "fault.alloc", %{bytes: 1})
    assert {:ok, %{quarantined: []}} = Stevedore.stats(pool)
  end

  describe "restart" do
    test "under load: no error, other workers, and never fewer of them" do
      pool = start_pool!(workers: 2)
      before = workers(pool)
      forward_events(pool, @worker)
      {result, bad} = under_load(pool, fn -> Stevedore.restart(pool) end)
      assert {result, bad} == {:ok, []}
      assert fewest_ready(2) == 2
      now = workers(pool)
      assert length(now) == 2
      assert now -- before == now
      for {_pid, os_pid} <- before, do: refute(alive?(os_pid))
      assert {:ok, %{deaths: deaths}} = Stevedore.stats(pool)
      assert deaths == %{}
    end

    test "with other plugins: there are other ops" do
      pool = start_pool!(workers: 2)
      refute "fault.spin" in ops(pool)
      assert Stevedore.restart(pool, plugins: [plugin("fault")]) == :ok
      for _ <- 1..4, do: assert("fault.spin" in ops(pool))

      # And those that are started later have them, too.
      before = workers(pool)
      for {_pid, os_pid} <- before, do: kill!(os_pid)
      eventually(fn -> length(workers(pool) -- before) == 2 end)
      assert "fault.spin" in ops(pool)
      assert Stevedore.restart(pool, plugins: []) == :ok
      refute "fault.spin" in ops(pool)
    end

    test "with what does not start: an error that says why, and all is as before" do
      pool = start_pool!(workers: 2)
      before = workers(pool)

      for {options, text} <- [
            {[executable: "/no/such/program"], "no worker program at /no/such/program"},
            {[executable: Fixture.path("wrong_protocol")], "speaks version 2"},
            {[executable: Fixture.path("never_answers_hello"), boot_timeout: 50], "within 50 ms"},
            {[plugins: ["/no/such/plugin.so"]], "cannot load the plugin: /no/such/plugin.so"}
          ] do
        {result, bad} = under_load(pool, fn -> Stevedore.restart(pool, options) end)
        assert {:error, %Error{kind: :unavailable, message: message}} = result
        assert message =~ text
        assert message =~ "the old ones are in use again"
        assert bad == []
        assert workers(pool) == before
      end

      {:error, error} = Stevedore.restart(pool, plugins: ["/no/such/plugin.so"])
      assert error.details["said"] =~ "cannot load the plugin: /no/such/plugin.so"

      # The old options are in force.
      assert Stevedore.restart(pool) == :ok
      assert length(workers(pool)) == 2
    end

    test "with what stops to start half-way: those that were replaced go back" do
      directory = Path.join(System.tmp_dir!(), "stevedore-#{System.unique_integer([:positive])}")
      File.mkdir_p!(directory)
      on_exit(fn -> File.rm_rf!(directory) end)
      plugin = Path.join(directory, "fault.so")
      File.cp!(plugin("fault"), plugin)
      pool = start_pool!(workers: 3, threads: 1)
      test = self()

      # It goes away when the first one has it.
      :telemetry.attach_many(
        test,
        [[:stevedore, :worker, :draining]],
        fn _event, _measurements, metadata, _config ->
          if metadata.pool == pool, do: File.rm(plugin)
        end,
        nil
      )

      on_exit(fn -> :telemetry.detach(test) end)
      assert {:error, %Error{kind: :unavailable}} = Stevedore.restart(pool, plugins: [plugin])
      assert length(workers(pool)) == 3
      for {pid, _os_pid} <- workers(pool), do: assert(:sys.get_state(pid).options.plugins == [])
      refute "fault.spin" in ops(pool)
    end

    test "with options that cannot be: nothing happens" do
      pool = start_pool!()
      before = workers(pool)

      for options <- [[workers: 3], [threads: 0], [nonsense: 1]] do
        assert {:error, %Error{kind: :bad_args, message: message}} =
                 Stevedore.restart(pool, options)

        assert message =~ inspect(hd(Keyword.keys(options)))
      end

      assert workers(pool) == before
    end

    test "lets what runs finish" do
      pool = start_pool!()
      job = start_running!(pool, "sleep", %{ms: 1_500})
      assert Stevedore.restart(pool) == :ok
      assert Stevedore.yield(job, 0) == {:ok, nil}
      refute_received _
    end

    test "one after the other, if several ask" do
      pool = start_pool!(workers: 2)
      tasks = for _ <- 1..3, do: Task.async(fn -> Stevedore.restart(pool) end)
      assert Task.await_many(tasks, 30_000) == [:ok, :ok, :ok]
      assert length(workers(pool)) == 2
    end

    test "goes on if an old worker or a new one dies meanwhile" do
      pool = start_pool!(workers: 3, threads: 1)
      before = workers(pool)
      # So that no worker has gone before one is killed.
      jobs = for _ <- 1..3, do: start_running!(pool, "sleep", %{ms: 1_500})
      forward_events(pool, [[:pool, :replace]])
      restart = Task.async(fn -> Stevedore.restart(pool) end)
      assert_receive {:event, [:pool, :replace], _, %{worker: old}}
      [{_pid, os_pid} | _] = List.keydelete(before, old, 0)
      kill!(os_pid)
      assert Task.await(restart, 30_000) == :ok
      for job <- jobs, do: assert(Stevedore.await(job) == {:ok, nil})
      await_ready(pool, 3)
      assert workers(pool) -- before == workers(pool)
    end

    for {death, op, args} <- [
          {"that dies", "fault.crash", %{}},
          {"that is wounded", "fault.hang", %{}}
        ] do
      test "has no worker too many after one #{death} while its replacement starts" do
        pool = start_fault_pool!(workers: 2, threads: 1)
        jobs = occupy!(pool, 2)
        {gated, gate} = gated_program!()
        forward_events(pool, [[:pool, :replace], [:worker, :ready]])
        restart = Task.async(fn -> Stevedore.restart(pool, executable: gated) end)
        assert_receive {:event, [:pool, :replace], _, %{worker: old}}
        {[here], elsewhere} = Enum.split_with(jobs, &(&1.worker == old))
        assert [{:error, %Error{kind: :cancelled}}] = cancel_all([here])
        # It goes where there is a thread: to the one that is to be replaced.
        options = [timeout: 50, kill_after: 50]

        assert {:error, %Error{}} =
                 Stevedore.call(pool, unquote(op), unquote(Macro.escape(args)), options)

        File.touch!(gate)
        cancel_all(elsewhere)
        assert Task.await(restart, 30_000) == :ok
        assert_all_serve(pool, 2)
        # Nor does one more come of what has been started meanwhile.
        for {pid, _os_pid} <- workers(pool),
            do: assert(%{options: %{executable: ^gated}} = :sys.get_state(pid))

        assert_all_serve(pool, 2)
      end
    end

    defp assert_all_serve(pool, count) do
      eventually(fn ->
        {:ok, %{workers: workers}} = Stevedore.stats(pool)
        length(workers) == count and Enum.all?(workers, &(&1.state == :ready))
      end)
    end

    test "reaches those that are still starting" do
      pool = start_pool!(workers: 1)
      :ok = Stevedore.resize(pool, 3)
      assert Stevedore.restart(pool, plugins: [plugin("fault")]) == :ok
      await_ready(pool, 3)
      {:ok, %{workers: workers}} = Stevedore.stats(pool)

      for %{pid: pid} <- workers do
        assert :sys.get_state(pid).options.plugins == [plugin("fault")]
      end
    end
  end

  describe "resize" do
    test "up and down under load: no error" do
      pool = start_pool!(workers: 2)
      forward_events(pool, @worker)

      {_, bad} =
        under_load(pool, fn ->
          for size <- [4, 1, 3, 2] do
            assert Stevedore.resize(pool, size) == :ok
            await_ready(pool, size)
          end
        end)

      assert bad == []
      eventually(fn -> match?({:ok, %{workers: [_, _], deaths: %{}}}, Stevedore.stats(pool)) end)
      assert fewest_ready(2) >= 1
    end

    test "faster than workers start" do
      pool = start_pool!(workers: 1)
      for size <- [5, 1, 4, 2, 3], do: assert(Stevedore.resize(pool, size) == :ok)

      eventually(fn ->
        {:ok, %{workers: workers}} = Stevedore.stats(pool)
        length(workers) == 3 and Enum.all?(workers, &(&1.state == :ready))
      end)
    end

    test "what waited in one that has to go is done, and what runs may finish" do
      pool = start_fault_pool!(workers: 2, threads: 1)
      jobs = for _ <- 1..2, do: start_running!(pool, "sleep", %{ms: 1_500})
      waiting = for n <- 1..6, do: Stevedore.async(pool, "fault.alloc", %{bytes: n})
      :ok = Stevedore.resize(pool, 1)
      assert Enum.map(jobs, &Stevedore.await/1) == [{:ok, nil}, {:ok, nil}]
      assert Enum.map(waiting, &Stevedore.await/1) == for(n <- 1..6, do: {:ok, n})
      await_ready(pool, 1)
      refute_received _
    end

    test "takes a number of workers" do
      pool = start_pool!()

      for size <- [0, -1, 1.5, 100_000] do
        assert_raise FunctionClauseError, fn -> Stevedore.resize(pool, size) end
      end
    end
  end

  describe "the death of the manager" do
    test "while a worker is wounded: the pool keeps serving, and comes back to its size" do
      pool = start_fault_pool!(workers: 2, threads: 2)
      supervisor = Process.whereis(pool)
      [neighbour] = occupy!(pool, 1)
      hanging = start_running!(pool, "fault.hang", %{}, timeout: 20, kill_after: 20)
      assert {:error, %Error{kind: :timed_out}} = Stevedore.await(hanging)
      kill_manager!(pool)
      assert {:ok, 1} = Stevedore.call(pool, "fault.alloc", %{bytes: 1})
      cancel_all([neighbour])

      eventually(fn ->
        {:ok, %{workers: workers}} = Stevedore.stats(pool)
        length(workers) == 2 and Enum.all?(workers, &(&1.state == :ready))
      end)

      assert Process.whereis(pool) == supervisor
    end

    test "a drained pool stays drained" do
      pool = start_pool!()
      assert Stevedore.drain(pool) == :ok
      kill_manager!(pool)
      assert {:ok, %{draining: true, workers: []}} = Stevedore.stats(pool)
      assert {:error, %Error{message: message}} = Stevedore.call(pool, "ping", nil)
      assert message =~ "drain"
      assert Stevedore.restart(pool) == :ok
      kill_manager!(pool)
      assert {:ok, %{draining: false, workers: [_]}} = Stevedore.stats(pool)
    end

    test "while the pool drains: it has drained when the workers from before are gone, too" do
      pool = start_pool!(threads: 1)
      [{_pid, os_pid}] = workers(pool)
      forward_events(pool, [[:worker, :draining]])
      job = start_running!(pool, "sleep", %{ms: 1_000})
      {drain, monitor} = spawn_monitor(fn -> Stevedore.drain(pool) end)
      assert_receive {:event, [:worker, :draining], _, _}

      ExUnit.CaptureLog.capture_log(fn ->
        kill_manager!(pool)
        assert_receive {:DOWN, ^monitor, :process, ^drain, {:killed, _call}}
      end)

      assert Stevedore.drain(pool) == :ok
      refute alive?(os_pid)
      assert Stevedore.yield(job, 0) == {:ok, nil}
    end

    test "while the circuit is open: when it is not any more, calls wait for a worker" do
      {program, gate} = gated_program!()
      File.touch!(gate)

      pool =
        start_pool!(executable: program, circuit: 2, backoff_min: 60_000, backoff_max: 60_000)

      forward_events(pool, [[:pool, :circuit], [:worker, :ready]])

      [{_pid, os_pid}] = workers(pool)
      kill!(os_pid)
      assert_receive {:event, [:worker, :ready], _, _}
      await_ready(pool, 1)
      [{_pid, os_pid}] = workers(pool)
      kill!(os_pid)
      assert_receive {:event, [:pool, :circuit], _, %{to: :open}}
      kill_manager!(pool)
      File.rm!(gate)
      [{_pid, os_pid}] = workers(pool)
      kill!(os_pid)
      eventually(fn -> workers(pool) == [] end)
      job = Stevedore.async(pool, "ping", nil)
      assert Stevedore.yield(job, 0) == nil
      File.touch!(gate)
      assert Stevedore.await(job) == {:ok, "pong"}
    end

    test "a worker that was to be replaced asks for it again" do
      {program, gate} = gated_program!()
      File.touch!(gate)
      pool = start_pool!(executable: program, max_age: 200)
      [{old, _os_pid}] = workers(pool)
      File.rm!(gate)
      forward_events(pool, [[:pool, :replace], [:worker, :stop]])
      assert_receive {:event, [:pool, :replace], _, %{worker: ^old}}, 5_000
      kill_manager!(pool)
      assert_receive {:event, [:pool, :replace], _, %{worker: ^old}}, 5_000
      File.touch!(gate)
      assert_receive {:event, [:worker, :stop], _, %{worker: ^old, cause: :drained}}, 5_000
    end

    test "the size that was asked for last is kept" do
      pool = start_pool!(workers: 1)
      :ok = Stevedore.resize(pool, 3)
      await_ready(pool, 3)
      kill_manager!(pool)
      assert {:ok, %{workers: [_, _, _]}} = Stevedore.stats(pool)
      {pid, os_pid} = hd(workers(pool))
      monitor = Process.monitor(pid)
      kill!(os_pid)
      assert_receive {:DOWN, ^monitor, :process, ^pid, _reason}
      await_ready(pool, 3)
    end
  end
end
