if Code.ensure_loaded?(Oban.Worker) and Code.ensure_loaded?(Ecto.Adapters.SQLite3) do
  defmodule Stevedore.Oban.SQLiteTest do
    use ExUnit.Case, async: true

    # The same on SQLite: what depends on the engine (errors, snoozes, cancelling) and a result.

    import Stevedore.PoolCase
    import Stevedore.ObanCase, only: [await_running: 2]

    alias Stevedore.Test.NativeJob

    @moduletag :oban

    defmodule Repo do
      use Ecto.Repo, otp_app: :stevedore, adapter: Ecto.Adapters.SQLite3
    end

    setup do
      file = Path.join(System.tmp_dir!(), "stevedore-#{System.pid()}.sqlite3")
      on_exit(fn -> for end_of_name <- ["", "-shm", "-wal"], do: File.rm(file <> end_of_name) end)
      start_supervised!({Repo, database: file, pool_size: 1, log: false})
      Ecto.Migrator.up(Repo, 1, Stevedore.Test.Migration, log: false)

      start_supervised!(
        {Oban,
         name: __MODULE__,
         engine: Oban.Engines.Lite,
         notifier: Oban.Notifiers.PG,
         peer: Oban.Peers.Isolated,
         repo: Repo,
         queues: [native: 4],
         stage_interval: 50}
      )

      %{pool: start_fault_pool!(threads: 2)}
    end

    defp insert!(pool, op, args) do
      job = NativeJob.new(%{pool: pool, op: op, args: args}, queue: :native)
      Oban.insert!(__MODULE__, job)
    end

    defp await_state(job, state) do
      eventually(fn ->
        job = Repo.get(Oban.Job, job.id)
        if job.state == state, do: job
      end)
    end

    test "a result, a crash, a snooze, a cancel", %{pool: pool} do
      assert %{errors: []} = await_state(insert!(pool, "echo", 1), "completed")

      crashed = await_state(insert!(pool, "fault.crash", %{}), "retryable")
      assert %{attempt: 1, errors: [%{"error" => error}]} = crashed
      assert error =~ "crashed: SIGSEGV at 0x0 in crash_by_null_write (fault.so)"

      running = insert!(pool, "sleep", %{ms: 60_000})
      await_running(pool, 1)
      :ok = Oban.cancel_job(__MODULE__, running.id)
      await_state(running, "cancelled")
      await_running(pool, 0)

      :ok = Stevedore.drain(pool)
      snoozed = await_state(insert!(pool, "echo", 1), "scheduled")
      assert %{attempt: 0, errors: [], meta: %{"snoozed" => 1}} = snoozed
    end
  end
end
