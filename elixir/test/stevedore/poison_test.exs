defmodule Stevedore.PoisonTest do
  use Stevedore.PoolCase, async: true

  # Quarantine, with real deaths.

  @segv %{signal: "SEGV"}
  @abrt %{signal: "ABRT"}

  defp crash!(pool, args) do
    assert {:error, %Error{kind: :crashed}} = Stevedore.call(pool, "fault.crash", args)
  end

  defp refused!(pool, args) do
    assert {:error, %Error{kind: :quarantined} = error} =
             Stevedore.call(pool, "fault.crash", args)

    error
  end

  test "the third death is the last: the same op and arguments are refused" do
    pool = start_fault_pool!()
    forward_events(pool, [[:pool, :quarantine], [:worker, :stop]])
    for _ <- 1..3, do: crash!(pool, @segv)
    error = refused!(pool, @segv)
    assert error.details["retry_after_ms"] in 1..3_600_000
    assert error.message =~ "Stevedore.release/2"
    for _ <- 1..3, do: assert_receive({:event, [:worker, :stop], _, %{cause: :crash}})

    assert_received {:event, [:pool, :quarantine], %{for_ms: 3_600_000}, event}
    assert %{op: "fault.crash", fingerprint: fingerprint} = event

    assert {:ok, %{quarantined: [quarantined]}} = Stevedore.stats(pool)
    assert %{fingerprint: ^fingerprint, op: "fault.crash", for_ms: left} = quarantined
    assert left in 1..3_600_000

    # Whoever asks, and however.
    assert {:error, %Error{kind: :quarantined}} =
             fn -> Stevedore.call(pool, :"fault.crash", @segv, priority: 0) end
             |> Task.async()
             |> Task.await()

    # Other arguments and other ops are as free as before.
    crash!(pool, @abrt)
    assert Stevedore.call(pool, "ping", nil) == {:ok, "pong"}
    assert_receive {:event, [:worker, :stop], _, %{cause: :crash}}
    refute_received _
  end

  test "with other workers ready: not one death more" do
    pool = start_fault_pool!(workers: 3)

    for n <- 1..5 do
      args = %{signal: "ABRT", number: n}
      for _ <- 1..3, do: crash!(pool, args)
      refused!(pool, args)
      await_ready(pool, 3)
    end
  end

  test "what waits when it is quarantined does not run either" do
    pool = start_fault_pool!(threads: 1)
    [busy] = occupy!(pool, 1)
    jobs = for _ <- 1..6, do: Stevedore.async(pool, "fault.crash", @segv)
    cancel_all([busy])
    kinds = for job <- jobs, {:error, error} <- [Stevedore.await(job)], do: error.kind
    assert kinds == [:crashed, :crashed, :crashed, :quarantined, :quarantined, :quarantined]
    refute_received _
  end

  test "victims are not to blame" do
    pool = start_fault_pool!(threads: 2, quarantine: [deaths: 2, window: 60_000, for: 60_000])

    for n <- 1..4 do
      [victim] = occupy!(pool, 1)
      crash!(pool, %{number: n})
      assert {:error, %Error{kind: :lost}} = Stevedore.await(victim)
    end

    assert {:ok, %{quarantined: []}} = Stevedore.stats(pool)
  end

  test "nor are suspects, and those that were stopped on purpose" do
    options = [threads: 2, drain_timeout: 0, quarantine: [deaths: 1, window: 60_000, for: 60_000]]
    pool = start_fault_pool!(options)

    jobs = occupy!(pool, 2)
    [{_pid, os_pid}] = workers(pool)
    kill!(os_pid)
    for job <- jobs, do: assert({:error, %Error{kind: :lost}} = Stevedore.await(job))

    job = start_running!(pool, "fault.hang", %{}, idempotent: false)
    :ok = Stevedore.restart(pool)
    assert {:error, %Error{kind: kind}} = Stevedore.await(job)
    assert kind in [:lost, :cancelled]
    assert {:ok, %{quarantined: []}} = Stevedore.stats(pool)
  end

  test "a job that would not stop is" do
    pool = start_fault_pool!(quarantine: [deaths: 2, window: 60_000, for: 60_000])
    call = fn -> Stevedore.call(pool, "fault.hang", %{}, timeout: 20, kill_after: 20) end
    for _ <- 1..2, do: assert({:error, %Error{kind: :timed_out}} = call.())
    assert {:error, %Error{kind: :quarantined}} = call.()
  end

  test "one that was found out by running alone is" do
    pool = start_fault_pool!(threads: 2, quarantine: [deaths: 1, window: 60_000, for: 60_000])
    sleeper = start_running!(pool, "sleep", %{ms: 1_500})
    kill = fn -> Stevedore.call(pool, "fault.crash", %{signal: "KILL"}, idempotent: true) end
    assert {:error, %Error{kind: :crashed}} = kill.()
    assert {:ok, nil} = Stevedore.await(sleeper)
    assert {:error, %Error{kind: :quarantined}} = kill.()
  end

  test "it can be lifted: one, or all" do
    pool = start_fault_pool!(quarantine: [deaths: 1, window: 60_000, for: 60_000])
    crash!(pool, @segv)
    crash!(pool, @abrt)
    refused!(pool, @segv)
    {:ok, %{quarantined: [_, _] = quarantined}} = Stevedore.stats(pool)

    assert_raise ArgumentError, ~r/fingerprint/, fn -> Stevedore.release(pool, "fault.crash") end
    :ok = Stevedore.release(pool, hd(quarantined).fingerprint)
    assert {:ok, %{quarantined: [_]}} = Stevedore.stats(pool)
    :ok = Stevedore.release(pool)
    assert {:ok, %{quarantined: []}} = Stevedore.stats(pool)
    crash!(pool, @segv)
    refused!(pool, @segv)
    crash!(pool, @abrt)
  end

  test "it ends by itself" do
    pool = start_fault_pool!(quarantine: [deaths: 1, window: 60_000, for: 300])
    crash!(pool, @segv)
    assert refused!(pool, @segv).details["retry_after_ms"] in 0..300
    eventually(fn -> match?({:ok, %{quarantined: []}}, Stevedore.stats(pool)) end)
    crash!(pool, @segv)
  end

  test "deaths outside the window do not add up" do
    pool = start_fault_pool!(quarantine: [deaths: 2, window: 1, for: 60_000])

    for _ <- 1..4 do
      crash!(pool, @segv)
      Process.sleep(2)
    end

    assert {:ok, %{quarantined: []}} = Stevedore.stats(pool)
  end

  test "without quarantine anything may kill for ever" do
    pool = start_fault_pool!(quarantine: false)
    for _ <- 1..6, do: crash!(pool, @segv)
    eventually(fn -> match?({:ok, %{deaths: %{crash: 6}}}, Stevedore.stats(pool)) end)
    assert {:ok, %{quarantined: []}} = Stevedore.stats(pool)
  end
end
