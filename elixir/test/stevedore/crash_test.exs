defmodule Stevedore.CrashTest do
  use Stevedore.PoolCase, async: true

  # What happens when the program on the other side dies or misbehaves. The fixtures are in
  # tests/fixtures, each of them breaks one rule.

  describe "kill -9" do
    test "its callers are told at once and the pool serves again" do
      pool = start_pool!(workers: 1)
      [{_pid, os_pid}] = workers(pool)
      jobs = occupy!(pool, 2)
      kill!(os_pid)

      for job <- jobs do
        assert {:error, %Error{kind: :lost} = error} = Stevedore.await(job)
        assert error.message =~ ~r/SIGKILL|its process ended/
      end

      assert Stevedore.call(pool, "echo", 1) == {:ok, 1}
      assert [{_pid, other}] = workers(pool)
      assert other != os_pid
      refute_received _
    end

    test "jobs of other workers go on" do
      pool = start_pool!(workers: 2, threads: 1)
      [victim, survivor] = occupy!(pool, 2)
      {_pid, os_pid} = List.keyfind(workers(pool), victim.worker, 0)
      kill!(os_pid)
      assert {:error, %Error{kind: :lost}} = Stevedore.await(victim)
      assert Stevedore.yield(survivor, 0) == nil
      assert [{:error, %Error{kind: :cancelled}}] = cancel_all([survivor])
    end

    test "again and again: every call has an answer, and the pool outlives it" do
      pool = start_pool!(workers: 2, backoff_min: 1, backoff_max: 10)
      supervisor = Process.whereis(pool)

      callers =
        for _ <- 1..8 do
          Task.async(fn -> for n <- 1..200, do: Stevedore.call(pool, "echo", n) end)
        end

      for _ <- 1..10 do
        _ = Stevedore.call(pool, "sleep", %{ms: 5})
        kill_first(workers(pool))
      end

      results = callers |> Task.await_many(60_000) |> List.flatten()
      assert length(results) == 1_600
      assert Enum.all?(results, &ok_or_lost?/1)
      assert Process.whereis(pool) == supervisor
      assert serves?(pool, 10)
    end

    defp kill_first([]), do: :ok
    defp kill_first([{_pid, os_pid} | _]), do: System.cmd("kill", ["-KILL", "#{os_pid}"])

    defp ok_or_lost?({:ok, _}), do: true
    defp ok_or_lost?({:error, error}), do: error.kind in [:lost, :unavailable]

    # Those killed last may not have been missed yet.
    defp serves?(_pool, 0), do: false

    defp serves?(pool, times),
      do: Stevedore.call(pool, "echo", 1) == {:ok, 1} or serves?(pool, times - 1)
  end

  describe "a job that ends its worker" do
    test "is named, however busy others write to it" do
      pool = start_fault_pool!(threads: 2, backoff_min: 1, quarantine: false)
      data = :binary.copy("x", 100_000)
      callers = for _ <- 1..16, do: spawn_link(fn -> call_on(pool, data) end)

      for n <- 1..10 do
        args = %{code: 3, n: n}
        options = [idempotent: false]
        assert {:error, %Error{} = error} = Stevedore.call(pool, "fault.exit", args, options)
        assert %{kind: :crashed, details: %{"reason" => "exit code 3"}} = error
      end

      for caller <- callers, do: Process.unlink(caller) && Process.exit(caller, :kill)
    end

    defp call_on(pool, data) do
      _ = Stevedore.call(pool, "echo", data)
      call_on(pool, data)
    end
  end

  describe "a worker that breaks the protocol is stopped, and its callers know" do
    for {fixture, message} <- [
          {"half_frame", "exit code 70"},
          {"garbage", "malformed"},
          {"bad_reply", "no reply"},
          {"unknown_id", "unknown_id"},
          {"crashes_mid_job", "SIGSEGV"}
        ] do
      test fixture do
        pool = start_fixture!(unquote(fixture), backoff_max: 1, backoff_min: 1)
        [{pid, os_pid}] = workers(pool)
        monitor = Process.monitor(pid)
        assert {:error, %Error{kind: :lost} = error} = Stevedore.call(pool, "echo", 1)
        assert error.message =~ unquote(message)
        assert_receive {:DOWN, ^monitor, :process, ^pid, reason}, 5_000
        assert reason not in [:normal, :shutdown]
        refute alive?(os_pid)

        # And the next one serves, as badly as the first.
        assert {:error, %Error{kind: :lost}} = Stevedore.call(pool, "echo", 1)
        refute_received _
      end
    end
  end

  describe "a worker that will not end is killed" do
    for fixture <- ["ignores_eof", "floods_stdout"] do
      test fixture do
        pool = start_fixture!(unquote(fixture))
        [{_pid, os_pid}] = workers(pool)
        job = Stevedore.async(pool, "echo", 1)
        :ok = stop_supervised(pool)
        assert {:error, %Error{kind: :lost}} = Stevedore.await(job)
        refute alive?(os_pid)
      end
    end
  end

  describe "a pool does not start" do
    setup do
      Process.flag(:trap_exit, true)
      :ok
    end

    defp start_failure(options) do
      assert {:error, %Error{kind: :unavailable} = error} =
               Stevedore.start_link(pool_options(options))

      Exception.message(error)
    end

    test "without a program" do
      assert start_failure(executable: "/no/such/program") =~
               "no worker program at /no/such/program"
    end

    test "with one that may not be executed" do
      assert start_failure(executable: __ENV__.file) =~ "chmod +x"
    end

    test "with one that ends at once" do
      message = start_failure(executable: Fixture.path("exits_at_once"))
      assert message =~ "before it answered hello"
    end

    test "with one that says nothing" do
      options = [executable: Fixture.path("never_answers_hello"), boot_timeout: 50]
      assert start_failure(options) =~ "did not answer hello within 50 ms"
    end

    test "with one of another protocol" do
      assert start_failure(executable: Fixture.path("wrong_protocol")) =~ "speaks version 2"
    end

    test "with a plugin that cannot be used" do
      message = start_failure(plugins: ["/no/such/plugin.so"])
      assert message =~ "cannot load the plugin: /no/such/plugin.so"
      assert message =~ "exit code 69"
      refute message =~ "never ran"
    end

    test "for a reason that its details have too" do
      options = pool_options(plugins: [__ENV__.file])
      assert {:error, %Error{details: %{"said" => said}}} = Stevedore.start_link(options)
      assert said =~ "#{__ENV__.file}: "
    end

    test "with a program that is no worker" do
      assert start_failure(executable: "/bin/true") =~ "is it a Stevedore worker?"
      assert start_failure(executable: "/tmp") =~ "is it a Stevedore worker?"
    end

    test "as a child, with that error in what its supervisor says" do
      child = {Stevedore, pool_options(executable: "/no/such/program")}
      assert {:error, reason} = Supervisor.start_link([child], strategy: :one_for_one)
      assert Exception.format_exit(reason) =~ "no worker program at /no/such/program"
    end

    test "with a wrong option" do
      assert_raise ArgumentError, ~r/:workers must be .* got: 0/, fn ->
        Stevedore.start_link(pool_options(workers: 0))
      end
    end
  end
end
