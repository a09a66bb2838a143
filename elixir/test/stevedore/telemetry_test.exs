defmodule Stevedore.TelemetryTest do
  use Stevedore.PoolCase, async: true

  @job [[:job, :start], [:job, :stop], [:job, :exception]]

  test "a job that succeeds: start and stop, with what the worker measured" do
    pool = start_pool!()
    forward_events(pool, @job)
    job = Stevedore.async(pool, "echo", 1)
    {:ok, 1} = Stevedore.await(job)

    ref = job.ref
    assert_received {:event, [:job, :start], started, %{op: "echo", job: ^ref}}
    assert_received {:event, [:job, :stop], measured, %{op: "echo", job: ^ref, worker: worker}}
    assert worker == job.worker
    assert %{duration: _, queue_time: _, run_time: _, cpu_time: _} = measured
    assert measured.monotonic_time - measured.duration == started.monotonic_time
    refute_received {:event, _, _, _}
  end

  test "one that fails: start and exception" do
    pool = start_pool!()
    forward_events(pool, @job)
    {:error, error} = Stevedore.call(pool, "nope", 1)

    assert_received {:event, [:job, :start], _, %{job: ref}}

    assert_received {:event, [:job, :exception], %{run_time: 0},
                     %{job: ^ref, kind: :error, reason: ^error, stacktrace: []}}

    refute_received {:event, _, _, _}
  end

  test "one that never got to a worker too" do
    forward_events(No.Pool.At.All, @job)
    {:error, error} = Stevedore.call(No.Pool.At.All, "echo", 1)
    assert_received {:event, [:job, :start], _, %{job: ref, worker: nil}}
    assert_received {:event, [:job, :exception], _, %{job: ^ref, reason: ^error}}
  end

  test "one whose caller dies: the worker emits the end" do
    pool = start_pool!()
    forward_events(pool, @job)

    {caller, monitor} =
      spawn_monitor(fn ->
        Stevedore.async(pool, "sleep", %{ms: 60_000})
        exit(:enough)
      end)

    assert_receive {:DOWN, ^monitor, :process, ^caller, :enough}
    assert_receive {:event, [:job, :start], _, %{job: ref}}
    assert_receive {:event, [:job, :exception], _, %{job: ^ref, reason: %Error{kind: :cancelled}}}
    {:ok, _} = Stevedore.stats(pool)
    refute_received {:event, [:job, :exception], _, %{job: ^ref}}
  end

  test "the life of a pool and its workers" do
    pool = unique_name()

    events = [
      [:pool, :start],
      [:pool, :restart],
      [:pool, :stop],
      [:worker, :start],
      [:worker, :ready],
      [:worker, :draining],
      [:worker, :stop]
    ]

    forward_events(pool, events)
    ^pool = start_pool!(name: pool)

    [{pid, os_pid}] = workers(pool)
    assert_received {:event, [:worker, :start], _, %{worker: ^pid, os_pid: ^os_pid}}

    assert_received {:event, [:worker, :ready], %{duration: _},
                     %{worker: ^pid, hello: %{"protocol" => 1}}}

    assert_received {:event, [:pool, :start], %{workers: 1}, _}

    kill!(os_pid)

    # Its port may have ended before its exit status was known.
    assert_receive {:event, [:worker, :stop], %{in_flight: 0}, %{worker: ^pid} = stopped}
    assert %{cause: cause, reason: reason, crash: nil} = stopped
    assert {cause, reason} == {:kill, {:port_exited, 137}} or cause == :port_closed

    assert_receive {:event, [:pool, :restart], %{delay_ms: 0}, %{cause: ^cause}}
    assert_receive {:event, [:worker, :ready], _, %{worker: other}}

    :ok = stop_supervised(pool)
    assert_received {:event, [:worker, :draining], %{in_flight: 0}, %{worker: ^other}}
    assert_received {:event, [:worker, :stop], _, %{worker: ^other, cause: :drained}}
    assert_received {:event, [:pool, :stop], _, %{reason: :shutdown}}
  end

  test "what a worker logs goes to the logger, with pool and op" do
    pool = start_pool!()
    {:ok, handler} = attach_log_handler(pool)
    [{pid, _os_pid}] = workers(pool)
    port = :sys.get_state(pid).port

    # As the worker would be sent it by its port.
    text = "a line of #{inspect(pool)}"
    send(pid, {port, {:data, :erlang.term_to_binary({:log, :warning, text})}})
    assert_receive {:logged, %{level: :warning, msg: {:string, ^text}, meta: meta}}
    assert %{stevedore_pool: ^pool, domain: [:elixir, :stevedore]} = meta
    :ok = :logger.remove_handler(handler)
  end

  defp attach_log_handler(pool) do
    id = pool
    :ok = :logger.add_handler(id, __MODULE__, %{config: %{test: self(), pool: pool}})
    {:ok, id}
  end

  @doc false
  def log(%{meta: %{stevedore_pool: pool}} = event, %{config: %{test: test, pool: pool}}) do
    send(test, {:logged, event})
  end

  def log(_event, _config), do: :ok
end
