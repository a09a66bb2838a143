defmodule Stevedore.HealthTest do
  use Stevedore.PoolCase, async: true

  alias Stevedore.Health

  doctest Stevedore.Health

  defp timed(fun) do
    {us, result} = :timer.tc(fun)
    {div(us, 1_000), result}
  end

  # What has been seen of a pool with which nothing is wrong.
  @well %{
    manager: %{circuit: :closed, draining: false, size: 2, workers: []},
    ready: 2,
    silent: [],
    full: false,
    timeout: 500
  }

  describe "judge/1" do
    test "of a pool with which nothing is wrong" do
      assert Health.judge(@well) == :ok
    end

    for {kind, changes} <- [
          draining: %{manager: %{circuit: :closed, draining: true, size: 2, workers: []}},
          circuit_open: %{manager: %{circuit: :open, draining: false, size: 2, workers: []}},
          no_worker: %{ready: 0},
          no_worker: %{ready: 0, manager: nil},
          no_answer: %{silent: [1, 2]}
        ] do
      test "#{kind} is an error: #{inspect(changes)}" do
        changes = unquote(Macro.escape(changes))
        assert {:error, [{unquote(kind), _text}]} = Health.judge(Map.merge(@well, changes))
      end
    end

    for {kind, changes} <- [
          workers_missing: %{ready: 1},
          no_answer: %{silent: [4711]},
          overloaded: %{full: true},
          manager: %{manager: nil},
          wounded: %{
            manager: %{circuit: :closed, draining: false, size: 2, workers: [%{state: :wounded}]}
          }
        ] do
      test "#{kind} is a flaw: #{inspect(changes)}" do
        changes = unquote(Macro.escape(changes))
        assert {:degraded, [{unquote(kind), _text}]} = Health.judge(Map.merge(@well, changes))
      end
    end

    test "errors come without what is merely a flaw" do
      assert {:error, [no_worker: _text]} = Health.judge(%{@well | ready: 0, full: true})
    end
  end

  test "a pool that serves is well, however busy it is" do
    pool = start_pool!(workers: 2, threads: 1)
    assert Stevedore.health(pool) == :ok
    jobs = occupy!(pool, 2)
    assert Stevedore.health(pool, timeout: 5_000) == :ok
    cancel_all(jobs)
  end

  test "no pool" do
    assert {:error, [no_pool: text]} = Stevedore.health(:no_such_pool)
    assert text =~ ":no_such_pool"
  end

  test "one worker of two is stopped: degraded, and it is named; both: an error; never later than asked" do
    pool = start_pool!(workers: 2)
    [{_, first}, {_, second}] = workers(pool)
    on_exit(fn -> for os_pid <- [first, second], alive?(os_pid), do: kill!(os_pid) end)

    kill!(first, "STOP")
    {ms, health} = timed(fn -> Stevedore.health(pool, timeout: 300) end)
    assert {:degraded, [no_answer: text]} = health
    assert text =~ "#{first}"
    assert ms in 250..2_000

    kill!(second, "STOP")
    {ms, health} = timed(fn -> Stevedore.health(pool, timeout: 300) end)
    assert {:error, [no_answer: _text]} = health
    assert ms in 250..2_000

    for os_pid <- [first, second], do: kill!(os_pid, "CONT")
    eventually(fn -> Stevedore.health(pool) == :ok end)
  end

  test "processes of the VM that hang: the answer still comes in time, and nothing after it" do
    pool = start_pool!(workers: 1)
    [{worker, _os_pid}] = workers(pool)
    manager = Process.whereis(Module.concat(pool, Manager))
    :ok = :sys.suspend(manager)
    assert {:degraded, [manager: _text]} = Stevedore.health(pool, timeout: 200)
    :ok = :sys.suspend(worker)
    {ms, health} = timed(fn -> Stevedore.health(pool, timeout: 200) end)
    assert {:error, [{:no_answer, _text} | _]} = health
    assert ms < 2_000
    :ok = :sys.resume(manager)
    :ok = :sys.resume(worker)
    eventually(fn -> Stevedore.health(pool) == :ok end)
    refute_received _anything
  end

  test "what has been drained is an error until it is restarted" do
    pool = start_pool!(workers: 1)
    :ok = Stevedore.drain(pool)
    assert {:error, [{:draining, _text} | _]} = Stevedore.health(pool)
    :ok = Stevedore.restart(pool)
    eventually(fn -> Stevedore.health(pool) == :ok end)
  end

  test "a program that cannot be kept running: the circuit is open" do
    path = Path.join(System.tmp_dir!(), "stevedore-health-#{System.unique_integer([:positive])}")
    File.cp!(program(), path)
    on_exit(fn -> File.rm(path) end)
    pool = start_pool!(workers: 1, executable: path, circuit: 2, backoff_min: 1)
    File.rm!(path)
    for {_, os_pid} <- workers(pool), do: kill!(os_pid)
    eventually(fn -> match?({:error, [{:circuit_open, _} | _]}, Stevedore.health(pool)) end)
    File.cp!(program(), path)
    eventually(fn -> Stevedore.health(pool) == :ok end)
  end

  test "a full queue is a flaw" do
    pool = start_pool!(workers: 1, threads: 1, max_queue: 1)
    job = occupy!(pool, 1)
    waiting = Stevedore.async(pool, "sleep", %{ms: 60_000})
    eventually(fn -> match?({:degraded, [overloaded: _text]}, Stevedore.health(pool)) end)
    cancel_all([waiting | job])
  end

  test "wrong options are named" do
    assert_raise ArgumentError, ~r/:timeout must be .* got: 0/, fn ->
      Stevedore.health(:any, timeout: 0)
    end

    assert_raise ArgumentError, ~r/patience/, fn -> Stevedore.health(:any, patience: 1) end
  end
end
