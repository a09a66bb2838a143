if Code.ensure_loaded?(Oban.Worker) do
  defmodule Stevedore.Oban.NodesTest do
    use Stevedore.ObanCase, async: false

    # Many jobs through two nodes whose workers are killed at random. Afterwards each row must be in the state that the
    # table says, and the ledger, which the ops keep themselves, says how often each really ran.
    #
    #     STEVEDORE_OBAN_JOBS=50000 STEVEDORE_OBAN_SEED=7 mix test --only oban test/oban/nodes_test.exs

    import Ecto.Query

    alias Stevedore.Test.{LedgerJob, Member, OnceJob, Postgres}

    @jobs String.to_integer(System.get_env("STEVEDORE_OBAN_JOBS", "10000"))
    @seed String.to_integer(
            System.get_env("STEVEDORE_OBAN_SEED", "#{:erlang.phash2(make_ref())}")
          )
    @kill_every_ms 300

    # Of a hundred jobs, so many of each kind, and the state in which they may end.
    @kinds [
      work: {70, ["completed"]},
      again: {10, ["completed"]},
      once: {10, ["completed", "cancelled"]},
      fail: {3, ["discarded"]},
      segv: {2, ["discarded"]},
      late: {2, ["discarded"]},
      bad_args: {2, ["cancelled"]},
      unknown: {1, ["cancelled"]}
    ]

    @moduletag timeout: 900_000

    test "#{@jobs} jobs, two nodes, workers killed at random (seed #{@seed})" do
      Repo.delete_all(Oban.Job)
      oban = start_oban!(queues: [], stage_interval: 60_000, prefix: "public")
      started = System.monotonic_time(:millisecond)
      jobs = insert_all!(oban)
      members = for n <- 1..2, do: join!(n)
      await_all_ended()
      killed = Enum.sum_by(members, fn {peer, _ledger} -> Member.spare(peer) end)
      ledger = Enum.flat_map(members, fn {_peer, path} -> read_ledger(path) end)
      rows = Map.new(Repo.all(Oban.Job), &{&1.args["key"], &1})
      report(rows, ledger, killed, System.monotonic_time(:millisecond) - started)

      lines = Enum.group_by(ledger, &elem(&1, 1))

      wrong =
        for {key, kind} <- jobs, why <- wrong(kind, rows[key], lines[key] || []), do: {key, why}

      assert wrong == []
      assert killed > 0
    end

    defp insert_all!(oban) do
      _seed = :rand.seed(:exsss, @seed)

      kinds =
        Enum.flat_map(@kinds, fn {kind, {count, _states}} -> List.duplicate(kind, count) end)

      jobs = for n <- 1..@jobs, do: {"job#{n}", Enum.random(kinds)}

      for chunk <- Enum.chunk_every(jobs, 1_000) do
        Oban.insert_all(oban, Enum.map(chunk, fn {key, kind} -> changeset(kind, key) end))
      end

      jobs
    end

    defp changeset(:once, key), do: OnceJob.new(%{key: key, ms: ms()})
    defp changeset(:work, key), do: LedgerJob.new(%{key: key, ms: ms()})
    defp changeset(:again, key), do: LedgerJob.new(%{key: key, ms: ms(), op: "ledger.idempotent"})

    defp changeset(:fail, key),
      do: LedgerJob.new(%{key: key, ms: ms(), fault: "fail"}, max_attempts: 2)

    defp changeset(:segv, key),
      do: LedgerJob.new(%{key: key, ms: ms(), fault: "segv"}, max_attempts: 2)

    defp changeset(:late, key),
      do: LedgerJob.new(%{key: key, ms: 60_000, timeout: 30}, max_attempts: 2)

    defp changeset(:bad_args, key), do: LedgerJob.new(%{key: key, ms: -1})
    defp changeset(:unknown, key), do: LedgerJob.new(%{key: key, op: "ledger.nothing"})

    defp ms, do: :rand.uniform(15)

    defp join!(number) do
      peer = Member.start_node()
      ledger = Path.join(System.tmp_dir!(), "stevedore-ledger-#{System.pid()}-#{number}")
      File.write!(ledger, "")
      on_exit(fn -> File.rm(ledger) end)

      :ok =
        Member.join(peer,
          name: "member#{number}",
          directory: Postgres.ensure_started(),
          ledger: ledger,
          plugin: ledger_plugin(),
          executable: executable(),
          seed: @seed + number,
          every: @kill_every_ms
        )

      {peer, ledger}
    end

    defp await_all_ended do
      eventually(
        fn ->
          Process.sleep(200)

          not Repo.exists?(
            from(j in Oban.Job, where: j.state not in ~w(completed discarded cancelled))
          )
        end,
        3_000
      )
    end

    defp report(rows, ledger, killed, ms) do
      states = rows |> Map.values() |> Enum.frequencies_by(& &1.state)
      snoozes = Enum.sum_by(Map.values(rows), &snoozed/1)
      runs = Enum.count(ledger, &match?({:start, _key, _how, _at}, &1))

      IO.puts(
        "\n#{@jobs} jobs with seed #{@seed}: #{inspect(states)}, #{runs} native runs, #{snoozes} snoozes, " <>
          "#{killed} workers killed, #{div(ms, 1_000)} s"
      )
    end

    defp snoozed(row), do: row.meta["snoozed"] || 0

    # What is not as it must be, of one job.
    defp wrong(kind, row, lines) do
      {_count, states} = @kinds[kind]
      starts = Enum.count(lines, &match?({:start, _key, _how, _at}, &1))
      ends = for {:end, _key, how, _at} <- lines, do: how
      runs = row.attempt + snoozed(row)
      facts = {kind, row.state, starts, ends, row.attempt, row.meta, row.errors}

      for {what, false} <- [
            {:state, row.state in states},
            {:runs, starts <= may_run(kind, runs)},
            {:done, row.state != "completed" or "ok" in ends},
            {:errors, Enum.all?(row.errors, &(&1["error"] =~ expected_error(kind)))},
            {:attempts, row.attempt <= row.max_attempts}
          ],
          do: {what, facts}
    end

    # The op of that kind may be run again by the pool itself, once, after each death of its worker.
    defp may_run(:again, runs), do: 2 * runs
    defp may_run(:once, _runs), do: 1
    defp may_run(:unknown, _runs), do: 0
    defp may_run(_kind, runs), do: runs

    # Of a job that was lost more often than the table forgives, too.
    @lost "lost: .*snoozed [0-9]+ times already"
    defp expected_error(:fail), do: ~r/failed: told to fail.*code on_purpose|#{@lost}/s
    defp expected_error(:segv), do: ~r/crashed: SIGSEGV at 0x0 in ledger_segv|#{@lost}/s
    defp expected_error(:late), do: ~r/timed_out: ran longer|#{@lost}/s
    defp expected_error(:bad_args), do: ~r/bad_args: |#{@lost}/s
    defp expected_error(:unknown), do: ~r/unknown_op: /
    defp expected_error(:once), do: ~r/\{:cancel, #Stevedore<lost: /
    defp expected_error(_kind), do: ~r/#{@lost}/s
  end
end
