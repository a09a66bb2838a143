defmodule Stevedore.CancelTest do
  use Stevedore.PoolCase, async: true

  # Jobs that have moved, whose present worker does not serve any more, or who dies before it hears of it.

  defp holder(pool, job) do
    {:ok, %{workers: workers}} = Stevedore.stats(pool)

    Enum.find_value(workers, fn worker ->
      if Enum.any?(worker.jobs, &(&1.id == job.id)), do: worker.pid
    end)
  end

  test "a job that runs in a worker that drains, and was sent to another one that serves" do
    pool = start_pool!(workers: 2, threads: 1, drain_timeout: 60_000)
    forward_events(pool, [[:worker, :draining]])
    jobs = occupy!(pool, 2)
    job = Stevedore.async(pool, "sleep", %{ms: 60_000}, idempotent: false)
    {[busy], [other]} = Enum.split_with(jobs, &(holder(pool, &1) == job.worker))

    # Its thread is free now, and the job goes there.
    cancel_all([other])
    present = eventually(fn -> holder(pool, job) end)
    assert present != job.worker
    Stevedore.Worker.retire(present, 60_000)
    assert_receive {:event, [:worker, :draining], _, %{worker: ^present}}

    Stevedore.cancel(job)
    assert {:error, %Error{kind: :cancelled}} = Stevedore.yield(job, 10_000)
    cancel_all([busy])
  end

  test "at any moment of a worker's end" do
    pool = start_pool!(workers: 2, threads: 1, backoff_min: 1, backoff_max: 1)
    test = self()
    id = make_ref()
    handler = fn _, _, %{pool: moved}, _ -> if moved == pool, do: send(test, :moves) end
    :ok = :telemetry.attach_many(id, [[:stevedore, :job, :moved]], handler, nil)
    on_exit(fn -> :telemetry.detach(id) end)

    for _ <- 1..20 do
      await_ready(pool, 2)
      jobs = for _ <- 1..4, do: Stevedore.async(pool, "sleep", %{ms: 60_000}, idempotent: true)

      for {_pid, os_pid} <- workers(pool),
          do: System.cmd("kill", ["-KILL", "#{os_pid}"], stderr_to_stdout: true)

      # While they are on their way.
      assert_receive :moves
      Enum.each(jobs, &Stevedore.cancel/1)

      # It may have been running when its worker died, and is not run again then.
      for job <- jobs do
        assert {:error, %Error{kind: kind}} = Stevedore.yield(job, 10_000)
        assert kind in [:cancelled, :lost]
      end
    end
  end

  describe "with its worker's process killed before that was answered" do
    setup do
      pool = start_pool!(threads: 1)
      [{pid, os_pid}] = workers(pool)
      die = fn -> Process.exit(pid, :kill) end
      {:ok, pool: pool, stop: fn -> kill!(os_pid, "STOP") end, die: die}
    end

    test "a job that waits never runs", %{pool: pool, stop: stop, die: die} do
      [running] = occupy!(pool, 1)
      queued = Stevedore.async(pool, "sleep", %{ms: 1})
      eventually(fn -> queued(pool) == 1 end)
      stop.()
      :ok = Stevedore.cancel(queued)
      die.()

      assert {:error, %Error{kind: :cancelled, receipt: %{ran_us: 0}} = error} =
               Stevedore.await(queued)

      assert error.message =~ "before it ran"
      assert {:error, %Error{kind: :lost}} = Stevedore.await(running)
      eventually(fn -> rows(pool) == [] end)
      refute_received _
    end

    test "a job that runs is not run again", %{pool: pool, stop: stop, die: die} do
      running = start_running!(pool, "sleep", %{ms: 60_000}, idempotent: true)
      stop.()
      :ok = Stevedore.cancel(running)
      die.()
      assert {:error, %Error{kind: :lost}} = Stevedore.await(running)
      eventually(fn -> rows(pool) == [] end)
      refute_received _
    end
  end

  test "nothing is left of it, whatever it came to" do
    pool = start_pool!(threads: 1)
    [{pid, _os_pid}] = workers(pool)
    done = Stevedore.async(pool, "sleep", %{ms: 1})
    assert {:ok, nil} = Stevedore.await(done)
    :ok = Stevedore.cancel(done)
    [running] = occupy!(pool, 1)
    queued = Stevedore.async(pool, "sleep", %{ms: 1})
    assert [_cancelled, _too] = cancel_all([queued, running])
    :ok = Stevedore.Roster.leave(pool, pid)
    held = Stevedore.async(pool, "sleep", %{ms: 1})
    assert held.worker != pid
    assert [{:error, %Error{kind: :cancelled}}] = cancel_all([held])
    eventually(fn -> rows(pool) == [] end)
  end

  test "nor of one whose worker had ended before, when its caller is gone" do
    pool = start_pool!(threads: 1)
    [{pid, _os_pid}] = workers(pool)

    {caller, monitor} =
      spawn_monitor(fn ->
        job = Stevedore.async(pool, "echo", 1)
        {:ok, 1} = Stevedore.await(job)
        Process.exit(pid, :kill)
        eventually(fn -> not Process.alive?(pid) end)
        :ok = Stevedore.cancel(job)
      end)

    assert_receive {:DOWN, ^monitor, :process, ^caller, :normal}, 10_000
    # The roster does it whenever a worker ends.
    :ok = Stevedore.Whereabouts.sweep(pool)
    assert rows(pool) == []
  end

  defp rows(pool), do: :ets.tab2list(Module.concat(pool, Whereabouts))
end
