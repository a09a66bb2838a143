if Code.ensure_loaded?(Oban.Worker) do
  defmodule Stevedore.Oban.StoppingTest do
    use Stevedore.ObanCase, async: true

    # Nothing native goes on for a job that Oban has given up. The ops themselves write down when they ended.

    alias Stevedore.Test.NativeJob

    @within_ms 100

    defp start(oban, pool, more \\ %{}) do
      args = %{pool: pool, op: "ledger.work", args: %{key: "it", ms: 60_000}}
      job = insert!(oban, NativeJob, Map.merge(args, more))
      await_running(pool, 1)
      job
    end

    # ms from then to the native end.
    defp stopped_after(ledger, since) do
      {:end, "it", "stopped", at} =
        eventually(fn -> Enum.find(read_ledger(ledger), &match?({:end, "it", _, _}, &1)) end)

      (at - since) / 1_000_000
    end

    defp now, do: :os.perf_counter(:nanosecond)

    # The process that performs the job.
    defp performer(oban) do
      [pid] = Task.Supervisor.children(Oban.Registry.via(oban, {:foreman, inspect_queue(oban)}))
      pid
    end

    defp inspect_queue(oban), do: Atom.to_string(oban)

    test "Oban.cancel_job while it runs: stops within #{@within_ms} ms, cancelled" do
      {pool, ledger} = start_ledger_pool!()
      oban = start_oban!(notifier: Oban.Notifiers.Postgres)
      job = start(oban, pool)
      before = now()
      :ok = Oban.cancel_job(oban, job.id)
      assert stopped_after(ledger, before) < @within_ms
      assert %{attempt: 1, errors: errors} = await_state(job, "cancelled")
      assert Enum.all?(errors, &(&1["error"] =~ "{:cancel, :shutdown}"))
      await_running(pool, 0)
    end

    test "Oban.cancel_job while Oban has it queued: it never runs" do
      {pool, ledger} = start_ledger_pool!()
      oban = start_oban!(limit: 1)
      first = start(oban, pool)
      waiting = insert!(oban, NativeJob, %{pool: pool, op: "ledger.work", args: %{key: "no"}})
      :ok = Oban.cancel_job(oban, waiting.id)
      :ok = Oban.cancel_job(oban, first.id)
      await_state(first, "cancelled")
      assert %{attempt: 0} = await_state(waiting, "cancelled")
      assert for({_what, "no", _how, _at} = line <- read_ledger(ledger), do: line) == []
    end

    test "Oban.cancel_job while it waits for a thread: it never runs" do
      {pool, ledger} = start_ledger_pool!(threads: 1)
      oban = start_oban!()
      first = start(oban, pool)
      waiting = insert!(oban, NativeJob, %{pool: pool, op: "ledger.work", args: %{key: "no"}})
      eventually(fn -> match?(%{workers: [%{in_flight: 2}]}, Stevedore.info(pool)) end)
      :ok = Oban.cancel_job(oban, waiting.id)
      assert %{attempt: 1} = await_state(waiting, "cancelled")
      eventually(fn -> match?(%{workers: [%{in_flight: 1}]}, Stevedore.info(pool)) end)
      :ok = Oban.cancel_job(oban, first.id)
      await_state(first, "cancelled")
      await_running(pool, 0)
      assert for({_what, "no", _how, _at} = line <- read_ledger(ledger), do: line) == []
    end

    test "timeout/1: stops, an error that says so" do
      {pool, ledger} = start_ledger_pool!()
      oban = start_oban!()
      forward_oban_events(oban, [[:oban, :job, :exception]])
      job = start(oban, pool, %{oban_timeout: 300})
      assert_receive {:event, [:oban, :job, :exception], _measurements, _metadata}
      assert stopped_after(ledger, now()) < @within_ms
      assert %{attempt: 1, errors: [%{"error" => error}]} = await_state(job, "retryable")
      assert error =~ "timed out after 300ms"
    end

    test "its process killed: stops, an error" do
      {pool, ledger} = start_ledger_pool!()
      oban = start_oban!()
      job = start(oban, pool)
      before = now()
      Process.exit(performer(oban), :kill)
      assert stopped_after(ledger, before) < @within_ms
      assert %{attempt: 1} = await_state(job, "retryable")
    end

    test "the queue stopped: what does not finish in time stops" do
      {pool, ledger} = start_ledger_pool!()
      oban = start_oban!(shutdown_grace_period: 200)
      job = start(oban, pool)
      :ok = Oban.stop_queue(oban, queue: oban, local_only: true)
      assert stopped_after(ledger, now()) < 5_000
      assert %{state: "executing"} = Repo.reload(job)
    end

    test "the application stopped with jobs in flight: short ones complete, long ones stop, in that order of children" do
      {pool, ledger} = start_ledger_pool!(threads: 2, drain_timeout: 500)
      oban = start_oban!(shutdown_grace_period: 1_000)
      long = start(oban, pool)

      short =
        insert!(oban, NativeJob, %{
          pool: pool,
          op: "ledger.work",
          args: %{key: "in_time", ms: 300}
        })

      await_running(pool, 2)
      before = now()
      # As a supervisor does it: the last child first.
      :ok = stop_supervised(oban)
      assert stopped_after(ledger, before) < 1_000 + 1_000
      assert {:end, "in_time", "ok", _at} = List.keyfind(ends(ledger), "in_time", 1)
      assert %{state: "completed", attempt: 1} = Repo.reload(short)
      # Oban's own rule: what it has given up at shutdown stays so until its Lifeline rescues it.
      assert %{state: "executing", attempt: 1} = Repo.reload(long)
      assert await_running(pool, 0) == []
      :ok = stop_supervised(pool)
    end

    test "the pool stopped first, which is the wrong order: nothing is lost, the jobs are snoozed" do
      {pool, _ledger} = start_ledger_pool!(drain_timeout: 100)
      oban = start_oban!()
      job = start(oban, pool)
      :ok = stop_supervised(pool)
      assert %{attempt: 0, errors: [], meta: %{"snoozed" => 1}} = await_state(job, "scheduled")
    end

    test "an op that ignores it: Oban has its answer at once, its worker is replaced" do
      pool = start_fault_pool!(threads: 2, kill_after: 100, drain_timeout: 100)
      [{_pid, os_pid}] = workers(pool)
      oban = start_oban!()
      job = insert!(oban, NativeJob, %{pool: pool, op: "fault.hang", args: %{}})
      await_running(pool, 1)
      :ok = Oban.cancel_job(oban, job.id)
      await_state(job, "cancelled")
      eventually(fn -> not alive?(os_pid) end)
      await_ready(pool, 1)
    end

    defp ends(ledger), do: Enum.filter(read_ledger(ledger), &match?({:end, _, _, _}, &1))
  end
end
