defmodule Stevedore.CancelTest do
  use Stevedore.PoolCase, async: true

  # Jobs that have moved, and whose present worker does not serve any more.

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
end
