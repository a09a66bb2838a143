defmodule Stevedore.SettleTest do
  use Stevedore.PoolCase, async: true

  # Eight threads are busy, twenty jobs wait, and the worker dies: what becomes of each job. Each has exactly
  # one outcome, and nothing arrives after it.

  @kill %{signal: "KILL"}

  # Seven jobs run, then `op` beside them while twenty wait. The eighth thread is held until they do.
  defp die_busy(pool, op, args, options \\ []) do
    victims = occupy!(pool, 7)
    [gate] = occupy!(pool, 1)
    culprit = Stevedore.async(pool, op, args, [priority: 0] ++ options)
    queued = queue(pool, 20)
    eventually(fn -> queued(pool) == 21 end)
    :ok = Stevedore.cancel(gate)
    {victims, culprit, queued, gate}
  end

  # Echo would not wait: short ops run at once, however busy the threads are.
  defp queue(pool, count),
    do: for(n <- 1..count, do: Stevedore.async(pool, "fault.alloc", %{bytes: n}))

  # Its result may have been on the way when the worker died.
  defp assert_ended(gate) do
    assert {:error, %Error{kind: kind, details: details}} = Stevedore.await(gate)
    assert kind == :cancelled or details["state"] == "finished"
  end

  # Before Elixir's own filter, which drops them.
  defp tell_crash_reports_of(pid) do
    id = :"crash reports of #{inspect(pid)}"
    to = self()

    filter = fn
      %{msg: {:report, %{label: {:proc_lib, :crash}} = report}, meta: %{pid: ^pid}}, _extra ->
        send(to, {:crash_report, pid, report}) && :ignore

      _event, _extra ->
        :ignore
    end

    %{filters: filters} = :logger.get_primary_config()
    :ok = :logger.set_primary_config(:filters, [{id, {filter, nil}} | filters])
    on_exit(fn -> :logger.remove_primary_filter(id) end)
  end

  defp assert_lost(jobs) do
    for job <- jobs do
      assert {:error, %Error{kind: :lost, details: %{"state" => "running"}} = error} =
               Stevedore.await(job)

      assert error.op == job.op and error.pool == job.pool and error.worker == job.worker
    end
  end

  # The pool counts them when its callers know already.
  defp assert_deaths(pool, deaths) do
    eventually(fn -> match?({:ok, %{deaths: ^deaths}}, Stevedore.stats(pool)) end)
  end

  defp assert_done(jobs) do
    assert Enum.map(jobs, &Stevedore.await/1) == for(n <- 1..length(jobs), do: {:ok, n})
  end

  describe "a crash: one is the culprit, seven are lost, twenty do not notice" do
    for {args, signal, function} <- [
          {%{signal: "SEGV"}, "SIGSEGV", "crash_by_null_write"},
          {%{signal: "SEGV", how: "stack"}, "SIGSEGV", "crash_by_recursion"},
          {%{signal: "BUS"}, "SIGBUS", "crash_by_mapping_past_end"},
          {%{signal: "ABRT"}, "SIGABRT", "crash_by_abort"}
        ] do
      test "#{signal} in #{function}" do
        pool = start_fault_pool!(threads: 8)
        [{pid, os_pid}] = workers(pool)
        forward_events(pool, [[:job, :settled], [:worker, :stop]])

        {victims, culprit, queued, gate} =
          die_busy(pool, "fault.crash", unquote(Macro.escape(args)))

        assert {:error, %Error{kind: :crashed} = error} = Stevedore.await(culprit)
        assert error.worker == pid
        assert error.details["signal"] == unquote(signal)
        assert Enum.any?(error.details["backtrace"], &(&1 =~ unquote(function)))
        assert error.details["ran_us"] > 0
        assert error.message =~ unquote(signal)
        assert_lost(victims)
        assert_done(queued)
        assert_ended(gate)
        refute alive?(os_pid)

        # The same as telemetry tells it.
        assert_receive {:event, [:worker, :stop], %{in_flight: taken}, %{cause: :crash} = stopped}
        assert taken in 28..29
        assert %{worker: ^pid, crash: %{op: "fault.crash"}} = stopped
        ref = culprit.ref

        assert_received {:event, _, _,
                         %{role: :culprit, job: ^ref, reason: %Error{kind: :crashed}}}

        for %{ref: ref} <- victims do
          assert_received {:event, _, _, %{role: :victim, job: ^ref, reason: %Error{kind: :lost}}}
        end

        refute_received {_ref, _message}
      end
    end
  end

  test "who writes over its thread's own variables is found out all the same" do
    pool = start_fault_pool!(threads: 8)
    {victims, culprit, queued, gate} = die_busy(pool, "fault.crash", %{how: "overwrite"})
    assert {:error, %Error{kind: :crashed} = error} = Stevedore.await(culprit)
    assert error.details["signal"] == "SIGSEGV"
    assert_lost(victims)
    assert_done(queued)
    assert_ended(gate)
  end

  test "idempotent victims are run again, and succeed" do
    pool = start_fault_pool!(threads: 8)
    forward_events(pool, [[:job, :moved]])
    victims = for _ <- 1..3, do: start_running!(pool, "sleep", %{ms: 1_000})
    by_call = start_running!(pool, "fault.hang", %{ms: 1_000}, idempotent: true)
    [not_at_all] = occupy!(pool, 1)

    assert {:error, %Error{kind: :crashed}} = Stevedore.call(pool, "fault.crash", %{})
    assert {:error, %Error{kind: :lost}} = Stevedore.await(not_at_all)
    for job <- [by_call | victims], do: assert({:ok, nil} = Stevedore.await(job))
    for _ <- 1..4, do: assert_received({:event, _, _, %{why: :run_again}})
    refute_received {:event, _, _, %{why: :run_again}}
    refute_received {_ref, _message}
  end

  test "with the largest timeout, too" do
    pool = start_fault_pool!(threads: 2)
    victim = start_running!(pool, "sleep", %{ms: 500}, timeout: 2_147_483_647)
    assert {:error, %Error{kind: :crashed}} = Stevedore.call(pool, "fault.crash", %{})
    assert {:ok, nil} = Stevedore.await(victim)
    refute_received _
  end

  test "but once only" do
    pool = start_fault_pool!(threads: 2)
    victim = start_running!(pool, "sleep", %{ms: 60_000})
    assert {:error, %Error{kind: :crashed}} = Stevedore.call(pool, "fault.crash", %{})
    eventually(fn -> victim.id in running(pool) end)
    assert Stevedore.yield(victim, 0) == nil
    assert {:error, %Error{kind: :crashed}} = Stevedore.call(pool, "fault.crash", %{})

    assert {:error, %Error{kind: :lost, details: %{"state" => "running", "reruns" => 1}}} =
             Stevedore.await(victim)

    refute_received _
  end

  test "one that was cancelled is not run again" do
    pool = start_fault_pool!(threads: 2, kill_after: 60_000)
    victim = start_running!(pool, "fault.hang", %{}, idempotent: true)
    :ok = Stevedore.cancel(victim)
    assert {:error, %Error{kind: :crashed}} = Stevedore.call(pool, "fault.crash", %{})
    assert {:error, %Error{kind: :lost}} = Stevedore.await(victim)
    assert running(pool) == []
  end

  describe "SIGKILL" do
    test "those that ran are lost, as suspects, those that waited are done" do
      pool = start_fault_pool!(threads: 8)
      forward_events(pool, [[:job, :settled]])
      {victims, killer, queued, gate} = die_busy(pool, "fault.crash", @kill)
      assert_lost([killer | victims])
      assert_done(queued)
      assert_ended(gate)
      for _ <- 1..8, do: assert_received({:event, _, _, %{role: :suspect}})
      refute_received {_ref, _message}
    end

    test "from outside" do
      pool = start_fault_pool!(threads: 8)
      [{_pid, os_pid}] = workers(pool)
      victims = occupy!(pool, 8)
      queued = queue(pool, 20)
      eventually(fn -> queued(pool) == 20 end)
      kill!(os_pid)
      assert_lost(victims)
      assert_done(queued)
      assert_deaths(pool, %{kill: 1})
      refute_received _
    end

    test "suspects are run again one at a time, each in a worker of its own, and succeed" do
      pool = start_fault_pool!(threads: 4)
      [{pid, os_pid}] = workers(pool)
      forward_events(pool, [[:job, :moved], [:worker, :ready], [:worker, :stop]])
      jobs = for _ <- 1..4, do: start_running!(pool, "sleep", %{ms: 1_000})
      kill!(os_pid)
      for job <- jobs, do: assert({:ok, nil} = Stevedore.await(job))
      for _ <- 1..4, do: assert_received({:event, [:job, :moved], _, %{why: :isolated}})
      # The first worker's end, and that of one for each of them.
      assert most_at_once(5, 1, 1) <= 2
      assert [{other, _os_pid}] = workers(pool)
      assert other != pid
      refute_received {_ref, _message}
    end

    # Workers that were there at the same time, up to that many ends.
    defp most_at_once(0, _now, most), do: most

    defp most_at_once(ends, now, most) do
      assert_receive {:event, [:worker, what], _, _}
      now = if what == :ready, do: now + 1, else: now - 1
      most_at_once(if(what == :ready, do: ends, else: ends - 1), now, max(now, most))
    end

    test "the one that did it is found out" do
      pool = start_fault_pool!(threads: 4)
      forward_events(pool, [[:job, :settled]])
      victims = for _ <- 1..2, do: start_running!(pool, "sleep", %{ms: 1_500})
      [not_idempotent] = occupy!(pool, 1)
      killer = Stevedore.async(pool, "fault.crash", @kill, idempotent: true)

      assert {:error, %Error{kind: :crashed} = error} = Stevedore.await(killer)
      assert error.message =~ "ran alone"
      assert error.details["reason"] =~ ~r/SIGKILL|its process ended/
      for job <- victims, do: assert({:ok, nil} = Stevedore.await(job))
      assert_lost([not_idempotent])
      assert_received {:event, _, _, %{role: :culprit, op: "fault.crash"}}
      assert_received {:event, _, _, %{role: :suspect, op: "sleep"}}
      refute_received _
    end

    test "a suspect whose worker keeps no limits is not in the way of others for ever" do
      pool = start_fault_pool!(threads: 2)
      [{_pid, os_pid}] = workers(pool)
      limits = [timeout: 700, queue_timeout: 100, kill_after: 100, idempotent: true]
      jobs = for _ <- 1..2, do: start_running!(pool, "sleep", %{ms: 60_000}, limits)
      forward_events(pool, [[:worker, :stop]])
      kill!(os_pid)
      {pid, os_pid} = isolated(pool)
      kill!(os_pid, "STOP")

      for job <- jobs, do: assert({:error, %Error{}} = Stevedore.await(job))
      assert_receive {:event, _, _, %{worker: ^pid, cause: :unresponsive}}, 5_000
      refute alive?(os_pid)
    end

    test "a suspect whose worker goes before it is ready is lost, and the next one is tried" do
      {program, gate} = gated_program!()
      File.touch!(gate)
      pool = start_pool!(executable: program, threads: 2)
      [{_pid, os_pid}] = workers(pool)

      [first, second] =
        for _ <- 1..2, do: start_running!(pool, "sleep", %{ms: 500}, timeout: :infinity)

      File.rm!(gate)
      kill!(os_pid)
      Stevedore.Worker.retire(isolated_worker(pool), 0)

      assert {:error, %Error{kind: :lost, details: %{"state" => "running"}}} =
               Stevedore.yield(first, 5_000)

      File.touch!(gate)
      assert Stevedore.yield(second, 5_000) == {:ok, nil}
    end

    test "a suspect may be cancelled while it waits and while it runs" do
      pool = start_fault_pool!(threads: 4)
      [{_pid, os_pid}] = workers(pool)
      forward_events(pool, [[:job, :moved]])
      jobs = for _ <- 1..3, do: start_running!(pool, "sleep", %{ms: 60_000})
      kill!(os_pid)
      assert_receive {:event, [:job, :moved], _, %{why: :isolated, job: ref}}
      [alone] = for job <- jobs, job.ref == ref, do: job
      [one, other] = List.delete(jobs, alone)

      :ok = Stevedore.cancel(one)
      assert {:error, %Error{kind: :cancelled}} = Stevedore.yield(one, 5_000)
      :ok = Stevedore.cancel(alone)
      assert {:error, %Error{kind: :cancelled}} = Stevedore.yield(alone, 5_000)
      ref = other.ref
      assert_receive {:event, [:job, :moved], _, %{why: :isolated, job: ^ref}}
      :ok = Stevedore.cancel(other)
      assert {:error, %Error{kind: :cancelled}} = Stevedore.yield(other, 5_000)
      refute_received _
    end
  end

  describe "exit in an op" do
    test "by _exit, with others: nobody knows whose it was" do
      pool = start_fault_pool!(threads: 8)
      {victims, culprit, queued, gate} = die_busy(pool, "fault.exit", %{code: 3})
      assert_lost([culprit | victims])
      assert_done(queued)
      assert_ended(gate)
      assert_deaths(pool, %{exit: 1})
      refute_received _
    end

    test "by _exit, alone: whose else" do
      pool = start_fault_pool!(threads: 8)

      assert {:error, %Error{kind: :crashed} = error} =
               Stevedore.call(pool, "fault.exit", %{code: 3})

      assert error.message =~ "exit code 3"
      refute_received _
    end

    test "by exit: as a crash, with the function that did it" do
      pool = start_fault_pool!(threads: 8)
      args = %{code: 3, quick: false}
      {victims, culprit, queued, gate} = die_busy(pool, "fault.exit", args)
      assert {:error, %Error{kind: :crashed} = error} = Stevedore.await(culprit)
      assert Enum.any?(error.details["backtrace"], &(&1 =~ "exit_from_a_library"))
      assert_lost(victims)
      assert_done(queued)
      assert_ended(gate)
      assert_deaths(pool, %{exit: 1})
      refute_received _
    end
  end

  describe "the worker's process in the VM is killed" do
    test "what ran is lost, what waited is done, and no OS process is left" do
      pool = start_fault_pool!(threads: 8)
      [{pid, os_pid}] = workers(pool)
      victims = occupy!(pool, 8)
      queued = queue(pool, 20)
      eventually(fn -> queued(pool) == 20 end)
      Process.exit(pid, :kill)
      # The OS process may have noticed first, and told them to stop.
      for job <- victims, do: assert({:error, %Error{kind: :lost}} = Stevedore.await(job))
      assert_done(queued)
      eventually(fn -> not alive?(os_pid) end)
      assert_deaths(pool, %{worker_process: 1})
      # Whatever anybody might still say of them goes nowhere.
      for job <- victims, do: send(job.ref, {job.ref, :late})
      refute_received _
    end

    test "by a bug of its own: the jobs are settled, and its crash report does not show them" do
      pool = start_fault_pool!(threads: 1)
      [{pid, _os_pid}] = workers(pool)
      tell_crash_reports_of(pid)
      [victim] = occupy!(pool, 1)
      waiting = Stevedore.async(pool, "fault.alloc", %{bytes: 1})
      eventually(fn -> queued(pool) == 1 end)

      ExUnit.CaptureLog.capture_log(fn ->
        send(pid, {:stevedore_call, :no_ticket})
        assert_receive {:crash_report, ^pid, report}, 5_000
        [about | _linked] = report.report
        assert about[:pid] == pid
        refute Enum.any?(about[:dictionary], &match?({_key, %Stevedore.Ticket{}}, &1))
      end)

      assert_lost([victim])
      assert {:ok, _} = Stevedore.await(waiting)
      refute_received _
    end

    test "while nothing runs: nobody notices" do
      pool = start_pool!()
      [{pid, os_pid}] = workers(pool)
      Process.exit(pid, :kill)
      assert Stevedore.call(pool, "echo", 1) == {:ok, 1}
      eventually(fn -> not alive?(os_pid) end)
      refute_received _
    end

    test "a job that had moved to it is told, too" do
      pool = start_pool!(workers: 2, threads: 1)
      [one, other] = occupy!(pool, 2)
      moved = Stevedore.async(pool, "sleep", %{ms: 60_000}, idempotent: false)
      [free] = for job <- [one, other], job.worker != moved.worker, do: job
      assert [{:error, %Error{kind: :cancelled}}] = cancel_all([free])
      eventually(fn -> moved.id in running(pool) end)
      Process.exit(free.worker, :kill)
      assert {:error, %Error{kind: :lost}} = Stevedore.yield(moved, 5_000)
      cancel_all([one, other] -- [free])
      refute_received _
    end

    for to <- ["another worker", "the Dispatcher"] do
      test "between noting that a job goes to #{to} and sending it" do
        pool = start_pool!(workers: 2, threads: 1)
        busy = occupy!(pool, 2)
        job = Stevedore.async(pool, "sleep", %{ms: 1})
        eventually(fn -> queued(pool) == 1 end)
        [other] = for %{worker: pid} <- busy, pid != job.worker, do: pid
        to = if unquote(to) =~ "worker", do: other, else: Stevedore.Dispatcher.whereis(pool)
        :ets.insert(Module.concat(pool, Whereabouts), {job.ref, to, self(), job.worker})
        Process.exit(job.worker, :kill)
        assert {:ok, nil} = Stevedore.yield(job, 5_000)
        cancel_all(busy)
        refute_received _
      end
    end

    test "after it has sent one: that runs once" do
      pool = start_pool!(workers: 2, threads: 1)
      busy = occupy!(pool, 2)
      job = Stevedore.async(pool, "sleep", %{ms: 60_000}, idempotent: false)
      {[free], [neighbour]} = Enum.split_with(busy, &(&1.worker != job.worker))
      cancel_all([free])
      eventually(fn -> job.id in running(pool) end)
      Process.exit(neighbour.worker, :kill)
      table = Module.concat(pool, Whereabouts)
      confirmed = {job.ref, free.worker, self(), free.worker}

      eventually(fn ->
        assert Stevedore.yield(job, 100) == nil
        :ets.lookup(table, job.ref) == [confirmed]
      end)

      assert [{:error, %Error{kind: :cancelled}}] = cancel_all([job])
      assert {:error, %Error{kind: :lost}} = Stevedore.await(neighbour)
      refute_received _
    end

    test "while it settles its jobs: nobody takes them for never started" do
      pool = start_fault_pool!(threads: 3)
      [{pid, os_pid}] = workers(pool)
      victims = occupy!(pool, 2)
      dispatcher = Stevedore.Dispatcher.whereis(pool)
      :ok = :sys.suspend(dispatcher)
      culprit = Stevedore.async(pool, "fault.crash", %{})

      # It has said that it ends, and cannot settle the culprit before the Dispatcher has noted the death.
      eventually(fn -> not alive?(os_pid) and asks?(pid, dispatcher) end)
      Process.exit(pid, :kill)
      :ok = :sys.resume(dispatcher)
      assert {:error, %Error{kind: :crashed}} = Stevedore.await(culprit)
      assert_lost(victims)
      assert_deaths(pool, %{crash: 1})
      refute_received _
    end

    test "by then the Manager is another: what may have started is lost" do
      pool = start_fault_pool!(threads: 1)
      [{pid, os_pid}] = workers(pool)
      kill_manager!(pool)
      [job] = occupy!(pool, 1)
      forward_events(pool, [[:job, :moved]])
      Process.exit(pid, :kill)
      assert {:error, %Error{kind: :lost}} = Stevedore.yield(job, 5_000)
      eventually(fn -> not alive?(os_pid) end)
      refute_received _
    end

    test "and so are very many others: what may have started is lost" do
      pool = start_fault_pool!(workers: 33, threads: 1)
      [job] = occupy!(pool, 1)
      forward_events(pool, [[:job, :moved]])
      others = for {pid, _os_pid} <- workers(pool), pid != job.worker, do: pid
      Process.exit(job.worker, :kill)
      assert_deaths(pool, %{worker_process: 1})
      for pid <- others, do: Process.exit(pid, :kill)
      assert_deaths(pool, %{worker_process: 33})
      assert {:error, %Error{kind: :lost}} = Stevedore.yield(job, 5_000)
      refute_received _
    end

    test "a job that was to run again there is run again elsewhere" do
      {pool, [job, neighbour], host} = run_again_behind_another!()
      eventually(fn -> System.monotonic_time() > job.started_at + native(500) end)
      Process.exit(host, :kill)
      :ok = :sys.resume(Module.concat(pool, Manager))
      # Its queue_timeout is over, but it has started before.
      assert {:ok, nil} = Stevedore.await(job)
      assert {:error, %Error{kind: :lost}} = Stevedore.await(neighbour)
      refute_received {_ref, _message}
    end
  end

  test "a job that was to run again and is cancelled before does not say that it never ran" do
    {pool, [job, neighbour], _host} = run_again_behind_another!()
    :ok = Stevedore.cancel(job)
    assert {:error, %Error{kind: :cancelled, receipt: nil} = error} = Stevedore.await(job)
    assert error.message =~ "it ran when its worker died"
    :ok = :sys.resume(Module.concat(pool, Manager))
    cancel_all([neighbour])
    refute_received {_ref, _message}
  end

  # Two workers with a job each; one dies, and its job waits in the other, whose process is `host`. There is no third
  # one as long as the Manager stands still.
  defp run_again_behind_another! do
    pool = start_fault_pool!(workers: 2, threads: 1)
    [neighbour] = occupy!(pool, 1)
    job = start_running!(pool, "sleep", %{ms: 2_000}, queue_timeout: 500)
    {os_pids, [host]} = Enum.split_with(workers(pool), fn {pid, _} -> pid == job.worker end)
    :ok = :sys.suspend(Module.concat(pool, Manager))
    forward_events(pool, [[:job, :moved]])
    [{_pid, os_pid}] = os_pids
    kill!(os_pid)
    assert_receive {:event, [:job, :moved], _, %{why: :run_again}}
    {pool, [job, neighbour], elem(host, 0)}
  end

  defp asks?(pid, dispatcher) do
    {:messages, messages} = Process.info(dispatcher, :messages)
    Enum.any?(messages, &match?({:"$gen_call", {^pid, _tag}, {:note_death, _, _}}, &1))
  end

  defp native(ms), do: System.convert_time_unit(ms, :millisecond, :native)

  test "half a frame, and a frame of garbage: what was in flight is lost, once" do
    for fixture <- ["half_frame", "garbage"] do
      pool = start_fixture!(fixture)
      jobs = for n <- 1..5, do: Stevedore.async(pool, "echo", n)
      for job <- jobs, do: assert({:error, %Error{kind: :lost}} = Stevedore.await(job))
      refute_received _
    end
  end

  test "what cannot be run again because the pool drains did run all the same: it is lost" do
    pool = start_fault_pool!(threads: 1)
    job = start_running!(pool, "fault.hang", %{}, idempotent: true)
    :ok = Stevedore.drain(pool, timeout: 0)
    assert {:error, %Error{kind: kind}} = Stevedore.await(job)
    assert kind in [:lost, :timed_out, :cancelled]
    refute_received _
  end
end
