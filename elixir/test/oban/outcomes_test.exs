if Code.ensure_loaded?(Oban.Worker) do
  defmodule Stevedore.Oban.OutcomesTest do
    use Stevedore.ObanCase, async: true

    # Each row of the table, brought about for real, and what Oban's row says then.

    alias Stevedore.Oban.OutcomeTable
    alias Stevedore.Test.NativeJob

    defp run(oban, pool, op, args, more \\ %{}) do
      insert!(oban, NativeJob, Map.merge(%{pool: pool, op: op, args: args}, more))
    end

    defp snoozed!(job) do
      job = await_end(job)
      assert %{state: "scheduled", attempt: 0, errors: [], meta: %{"snoozed" => 1}} = job
      assert DateTime.after?(job.scheduled_at, job.attempted_at)
    end

    defp error!(job, text) do
      job = await_end(job)
      assert %{state: "retryable", attempt: 1, errors: [%{"error" => error}]} = job
      assert error =~ text
      error
    end

    defp cancelled!(job, text) do
      job = await_end(job)
      assert %{state: "cancelled", attempt: 1, errors: [%{"error" => error}]} = job
      assert error =~ text
      error
    end

    @guide Path.expand("../../../docs/guides/oban.md", __DIR__)

    test "the table knows every kind of error, and the guide has it" do
      assert Enum.sort(for {key, _action, _why} <- OutcomeTable.rows(), do: key) ==
               Enum.sort([:drained | Stevedore.Error.kinds()])

      assert OutcomeTable.docs() =~ "| `too_large` | cancel |"
      assert File.read!(@guide) =~ OutcomeTable.docs()
    end

    test "a result: completed" do
      oban = start_oban!()
      job = run(oban, start_pool!(), "digest", %{algorithm: "sha256", data: "abc"})
      assert %{attempt: 1, errors: []} = await_state(job, "completed")
    end

    test "overloaded: snooze" do
      pool = start_pool!(threads: 1, max_queue: 1)
      jobs = occupy!(pool, 1)
      waiting = Stevedore.async(pool, "sleep", %{ms: 1})
      snoozed!(run(start_oban!(), pool, "echo", 1))
      cancel_all(jobs ++ [waiting])
    end

    test "unavailable: snooze, and done when the pool is back" do
      pool = start_pool!()
      oban = start_oban!()
      :ok = Stevedore.drain(pool)
      job = run(oban, pool, "echo", 1)
      snoozed!(job)
      :ok = Stevedore.restart(pool)
      Oban.retry_job(oban, job.id)
      assert %{attempt: 1, errors: []} = await_state(job, "completed")
    end

    test "unavailable, for there is no such pool: snooze" do
      _exists = Stevedore.Test.NoSuchPool
      snoozed!(run(start_oban!(), Stevedore.Test.NoSuchPool, "echo", 1))
    end

    test "queue_timeout: snooze" do
      pool = start_pool!(threads: 1)
      jobs = occupy!(pool, 1)
      snoozed!(run(start_oban!(), pool, "sleep", %{ms: 1}, %{call: %{queue_timeout: 50}}))
      cancel_all(jobs)
    end

    test "lost, worker killed with -9: snooze" do
      pool = start_pool!(threads: 2)
      job = run(start_oban!(), pool, "sleep", %{ms: 60_000}, %{call: %{idempotent: false}})
      await_running(pool, 1)
      [{_pid, os_pid}] = workers(pool)
      kill!(os_pid)
      snoozed!(job)
    end

    test "lost, victim of another job's crash: snooze" do
      pool = start_fault_pool!(threads: 2)
      oban = start_oban!()
      victim = run(oban, pool, "sleep", %{ms: 60_000}, %{call: %{idempotent: false}})
      await_running(pool, 1)
      culprit = run(oban, pool, "fault.crash", %{})
      snoozed!(victim)
      error!(culprit, "crashed: SIGSEGV")
    end

    test "drained, its worker is replaced: snooze" do
      pool = start_pool!(threads: 2, drain_timeout: 50)
      job = run(start_oban!(), pool, "sleep", %{ms: 60_000})
      await_running(pool, 1)
      :ok = Stevedore.restart(pool)
      snoozed!(job)
    end

    test "failed: error" do
      job = run(start_oban!(), start_pool!(), "digest", %{algorithm: "sha256", path: "/nowhere"})
      assert error!(job, "failed: ") =~ "code "
    end

    test "crashed: error with signal, op and frames" do
      error =
        error!(run(start_oban!(), start_fault_pool!(), "fault.crash", %{}), "crashed: SIGSEGV")

      assert error =~ ~r/at 0x0 in crash_by_null_write \(fault.so\), op fault.crash, after \d+ µs/
      assert error =~ "\n  crash_by_null_write+0x"
      assert error =~ "\n  run_crash+0x"
    end

    test "timed_out: error" do
      job = run(start_oban!(), start_pool!(), "sleep", %{ms: 60_000}, %{call: %{timeout: 50}})
      error!(job, "timed_out: ran longer than its timeout allowed")
    end

    test "no_memory: error" do
      pool = start_fault_pool!(threads: 1, confine: [address_space: 1_000_000_000])
      job = run(start_oban!(), pool, "fault.alloc", %{bytes: 2_000_000_000})
      error!(job, "no_memory: ")
    end

    test "too_large: cancel, and none of it in the row" do
      job = run(start_oban!(), start_pool!(max_frame: 65_536), "echo", nil, %{bytes: 90_000})
      refute cancelled!(job, "too_large: the request has 9") =~ "secret"
    end

    test "bad_args: cancel, and none of it in the row" do
      job = run(start_oban!(), start_pool!(), "digest", %{algorithm: "secret", data: "secret"})
      refute cancelled!(job, "bad_args: ") =~ "secret"
    end

    test "bad_request: cancel" do
      cancelled!(
        run(start_oban!(), start_pool!(), "echo", nil, %{with_a_pid: true}),
        "bad_request: "
      )
    end

    test "unknown_op: cancel" do
      cancelled!(run(start_oban!(), start_pool!(), "dogest", nil), "unknown_op: ")
    end

    test "quarantined, after three attempts that crashed: cancel" do
      oban = start_oban!()
      pool = start_fault_pool!(backoff_min: 1)

      poison =
        insert!(oban, NativeJob, %{pool: pool, op: "fault.crash", args: %{}}, max_attempts: 10)

      job = await_state(poison, "cancelled")
      assert %{attempt: 4, errors: errors} = job
      assert [_, _, _, %{"error" => last}] = errors
      for %{"error" => error} <- Enum.take(errors, 3), do: assert(error =~ "crashed: SIGSEGV")
      assert last =~ "quarantined: "
      assert %{errors: []} = await_state(run(oban, pool, "echo", "others go on"), "completed")
    end

    test "cancelled by Stevedore.cancel/1: cancel" do
      oban = start_oban!()
      pool = start_pool!()
      forward_oban_events(oban, [[:stevedore, :oban, :start]])
      job = run(oban, pool, "sleep", %{ms: 60_000})
      assert_receive {:event, _event, _measurements, %{job: ref, native_id: id, op: op}}
      await_running(pool, 1)
      [{worker, _os_pid}] = workers(pool)

      :ok =
        Stevedore.cancel(%Stevedore.Job{
          ref: ref,
          id: id,
          pool: pool,
          op: op,
          worker: worker,
          owner: self(),
          started_at: 0
        })

      cancelled!(job, "cancelled: ")
    end
  end
end
