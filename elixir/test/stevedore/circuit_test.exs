defmodule Stevedore.CircuitTest do
  use Stevedore.PoolCase, async: true

  # A worker program that cannot be started any more, after a good start.

  setup do
    directory = Path.join(System.tmp_dir!(), "stevedore-#{System.unique_integer([:positive])}")
    File.mkdir_p!(directory)
    on_exit(fn -> File.rm_rf!(directory) end)
    program = Path.join(directory, "worker")
    File.cp!(program(), program)
    {:ok, program: program}
  end

  defp start!(program, options \\ []) do
    defaults = [executable: program, backoff_min: 5, backoff_max: 20, circuit: 3]
    pool = start_pool!(Keyword.merge(defaults, options))

    forward_events(pool, [
      [:pool, :circuit],
      [:pool, :restart],
      [:worker, :ready],
      [:worker, :start]
    ])

    pool
  end

  defp lose_program!(pool, program) do
    File.rename!(program, program <> ".away")
    for {_pid, os_pid} <- workers(pool), do: kill!(os_pid)
  end

  # In one step, so that no half of it is ever started.
  defp bring_back!(program), do: File.rename!(program <> ".away", program)

  test "while it is open calls fail at once and say when to try again", %{program: program} do
    pool = start!(program)
    lose_program!(pool, program)
    assert_receive {:event, [:pool, :circuit], _, %{from: :closed, to: :open}}

    assert {:error, %Error{kind: :unavailable} = error} = Stevedore.call(pool, "ping", nil)

    assert %{"retry_after_ms" => retry, "circuit" => "open", "waited_ms" => waited} =
             error.details

    assert retry in 0..20
    assert waited < 1_000
    assert error.message =~ "no worker program"
    assert {:ok, %{circuit: circuit, waiting: 0}} = Stevedore.stats(pool)
    assert circuit in [:open, :half_open]
    # The one that was killed had had no job either.
    assert {:ok, %{deaths: %{boot: boots}}} = Stevedore.stats(pool)
    assert boots >= 2
    refute_received {:event, [:worker, :ready], _, _}
  end

  test "it closes when the program is back, and the pool serves", %{program: program} do
    pool = start!(program)
    lose_program!(pool, program)
    assert_receive {:event, [:pool, :circuit], _, %{to: :open}}
    bring_back!(program)
    assert_receive {:event, [:pool, :circuit], _, %{from: :open, to: :half_open}}
    assert_receive {:event, [:pool, :circuit], _, %{from: :half_open, to: :closed}}
    assert Stevedore.call(pool, "ping", nil) == {:ok, "pong"}
    assert {:ok, %{circuit: :closed}} = Stevedore.stats(pool)
  end

  test "all workers come back, one at a time is tried", %{program: program} do
    pool = start!(program, workers: 3)
    lose_program!(pool, program)
    assert_receive {:event, [:pool, :circuit], _, %{to: :open}}
    bring_back!(program)
    await_ready(pool, 3)

    # Not before the first of them was ready were the others started.
    assert [:start, :ready | _] = worker_events()
  end

  defp worker_events do
    receive do
      {:event, [:worker, what], _, _} -> [what | worker_events()]
      {:event, _other, _, _} -> worker_events()
    after
      0 -> []
    end
  end

  test "what was held is refused when it opens", %{program: program} do
    pool = start!(program, backoff_min: 400, backoff_max: 400)
    lose_program!(pool, program)
    assert_receive {:event, [:pool, :restart], %{delay_ms: delay}, _} when delay > 0
    job = Stevedore.async(pool, "echo", 1, queue_timeout: :infinity, timeout: :infinity)
    assert {:error, %Error{kind: :unavailable} = error} = Stevedore.await(job)
    assert error.details["circuit"] == "open"
    refute_received {_ref, _message}
  end

  test "a worker that dies of jobs opens nothing, however often" do
    pool = unique_name()
    forward_events(pool, [[:pool, :circuit], [:pool, :restart]])

    ^pool =
      start_fault_pool!(
        name: pool,
        circuit: 1,
        quarantine: false,
        backoff_min: 60_000,
        backoff_max: 60_000
      )

    for _ <- 1..5 do
      assert {:error, %Error{kind: :crashed}} = Stevedore.call(pool, "fault.crash", %{})
      assert_receive {:event, [:pool, :restart], %{delay_ms: 0}, %{cause: :crash}}
    end

    assert Stevedore.call(pool, "ping", nil) == {:ok, "pong"}
    refute_received {:event, [:pool, :circuit], _, _}
    assert {:ok, %{deaths: %{crash: 5}}} = Stevedore.stats(pool)
  end
end
