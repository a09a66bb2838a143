defmodule Stevedore.StatsTest do
  use Stevedore.PoolCase, async: true

  defp stats!(pool) do
    {:ok, stats} = Stevedore.stats(pool)
    stats
  end

  defp await_deaths(pool, count) do
    eventually(fn ->
      stats = stats!(pool)
      if length(stats.recent_deaths) == count, do: stats
    end)
  end

  test "what runs where, since when, and for whom" do
    pool = start_pool!(workers: 2, threads: 2)
    assert %{name: ^pool, size: 2, recent_deaths: [], workers: [one, two]} = stats!(pool)

    assert %{slot: 1, state: :ready, threads: 2, in_flight: 0, jobs: [], os_pid: os_pid} = one
    assert %{slot: 2, state: :ready, native: %{"uptime_ms" => _}, version: version} = two
    assert is_integer(os_pid) and is_binary(version)

    [%{id: id} = job] = occupy!(pool, 1)
    me = self()
    jobs = Enum.flat_map(stats!(pool).workers, & &1.jobs)
    assert [%{id: ^id, op: "sleep", ran_ms: ms, stuck: false, caller: ^me}] = jobs
    assert is_integer(ms)
    cancel_all([job])
  end

  test "asking is no job: it leaves no trace in telemetry" do
    pool = start_pool!()
    forward_events(pool, [[:job, :start], [:job, :stop]])
    stats!(pool)
    refute_received {:event, _, _, _}
  end

  test "a crash: who, of what, in which op, with the native backtrace" do
    pool = start_fault_pool!()
    [{pid, os_pid}] = workers(pool)
    before = System.system_time(:millisecond)
    {:error, error} = Stevedore.call(pool, "fault.crash", %{signal: "SEGV"})
    %{recent_deaths: [death], deaths: %{crash: 1}} = await_deaths(pool, 1)
    assert %{worker: ^pid, os_pid: ^os_pid, cause: :crash, crash: crash, at: at} = death
    assert death.text == error.message
    assert at in before..System.system_time(:millisecond)
    assert %{op: "fault.crash", signal: "SIGSEGV", address: "0x0", ran_us: ran_us} = crash
    assert crash.backtrace == error.details["backtrace"]
    assert Enum.any?(crash.backtrace, &(&1 =~ "crash_by_null_write"))
    assert is_integer(crash.id) and is_integer(ran_us)
  end

  test "a suspect that kills the worker it is alone in dies there, and that is told" do
    pool = start_fault_pool!(threads: 2)
    neighbour = start_running!(pool, "sleep", %{ms: 60_000}, idempotent: false)

    # An end that says nothing of who did it; the second time there is only one left.
    args = %{code: 9}
    {:error, error} = Stevedore.call(pool, "fault.exit", args, idempotent: true)
    {:error, %Error{kind: :lost}} = Stevedore.await(neighbour)
    assert error.kind == :crashed
    %{recent_deaths: [last, first]} = await_deaths(pool, 2)
    assert last.cause == :exit and first.cause == :exit
    assert last.worker != first.worker
  end

  test "deaths without a crash; the newest is first, and the process may be all that died" do
    pool = start_pool!()
    [{first, os_pid}] = workers(pool)
    kill!(os_pid)
    await_deaths(pool, 1)
    await_ready(pool, 1)
    [{second, other_os_pid}] = workers(pool)
    # It serves a moment before the Manager, who counts deaths, knows what its process is.
    eventually(fn -> match?([%{pid: ^second, state: :ready}], stats!(pool).workers) end)
    Process.exit(second, :kill)
    %{recent_deaths: [last, %{worker: ^first, os_pid: ^os_pid}]} = await_deaths(pool, 2)
    assert %{cause: :worker_process, crash: nil, worker: ^second, os_pid: ^other_os_pid} = last
    assert last.text =~ "killed"
  end

  test "they outlive the Manager" do
    pool = start_pool!()
    [{_pid, os_pid}] = workers(pool)
    kill!(os_pid)
    %{recent_deaths: deaths, deaths: counts} = await_deaths(pool, 1)
    manager = Process.whereis(Module.concat(pool, Manager))
    monitor = Process.monitor(manager)
    Process.exit(manager, :kill)
    assert_receive {:DOWN, ^monitor, _, _, _}

    eventually(fn ->
      match?({:ok, %{recent_deaths: ^deaths, deaths: ^counts}}, Stevedore.stats(pool))
    end)

    [{pid, os_pid}] = await_ready(pool, 1) && workers(pool)
    assert [%{pid: ^pid, os_pid: ^os_pid}] = stats!(pool).workers
  end

  test "a wounded worker is asked too: the job that will not stop is seen" do
    pool = start_fault_pool!(threads: 2, kill_after: 20)
    neighbour = start_running!(pool, "sleep", %{ms: 60_000}, idempotent: false)
    {:error, _} = Stevedore.call(pool, "fault.hang", %{}, timeout: 20)

    stuck =
      eventually(fn ->
        Enum.find_value(stats!(pool).workers, fn
          %{state: :wounded, jobs: jobs} -> Enum.find(jobs, & &1.stuck)
          _other -> nil
        end)
      end)

    assert %{op: "fault.hang", caller: nil} = stuck
    cancel_all([neighbour])
  end

  test "a worker that does not answer holds nobody up for long" do
    pool = start_pool!(workers: 2)
    [{_pid, os_pid} | _] = workers(pool)
    kill!(os_pid, "STOP")
    {us, stats} = :timer.tc(fn -> stats!(pool) end)
    assert us < 5_000_000
    assert [_] = Enum.filter(stats.workers, &(&1.native == nil))
    kill!(os_pid, "CONT")
  end
end
