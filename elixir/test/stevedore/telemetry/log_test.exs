defmodule Stevedore.Telemetry.LogTest do
  # Not async: the default logger is one for the whole VM.
  use Stevedore.PoolCase, async: false

  alias Stevedore.Telemetry
  alias Stevedore.Telemetry.{Events, Log}

  setup do
    handler = :"log-#{System.unique_integer([:positive])}"
    :ok = :logger.add_handler(handler, __MODULE__, %{config: %{test: self()}, level: :debug})

    on_exit(fn ->
      :logger.remove_handler(handler)
      Telemetry.detach_default_logger()
    end)
  end

  @doc false
  def log(%{meta: %{stevedore_event: _}} = event, %{config: %{test: test}}) do
    {:string, text} = event.msg
    send(test, {:logged, event.level, IO.chardata_to_string(text), event.meta})
  end

  def log(_event, _config), do: :ok

  test "failures, and the life of pools and workers, at the level of choice" do
    :ok = Telemetry.attach_default_logger(:notice)
    pool = start_fault_pool!(threads: 1)
    name = inspect(pool)
    [{pid, os_pid}] = workers(pool)

    ready = "#{name}: worker #{os_pid} is ready after "
    assert_receive {:logged, :notice, ^ready <> _, %{stevedore_worker: ^pid} = meta}

    assert %{domain: [:elixir, :stevedore], stevedore_pool: ^pool, stevedore_os_pid: ^os_pid} =
             meta

    assert %{stevedore_event: "worker.ready", stevedore_duration_us: us} = meta
    assert is_integer(us)

    {:ok, _} = Stevedore.call(pool, "echo", 1)
    {:error, _} = Stevedore.call(pool, "nope", 1)
    failed = "#{name}: nope failed after "
    assert_received {:logged, :warning, ^failed <> rest, meta}
    assert rest =~ "unknown_op"
    assert %{stevedore_op: "nope", stevedore_error: :unknown_op, stevedore_job: _} = meta

    {:error, _} = Stevedore.call(pool, "fault.crash", %{})
    assert_received {:logged, :error, crashed, %{stevedore_error: :crashed}}
    assert crashed =~ "crashed: SIGSEGV at 0x0 in crash_by_null_write"
    died = "#{name}: worker #{os_pid} died after "
    assert_receive {:logged, :warning, ^died <> rest, %{stevedore_cause: :crash}}
    assert rest =~ ~r/ with 1 job: crash$/
    refute_received {:logged, _, _, %{stevedore_op: "echo"}}
    :ok = Telemetry.detach_default_logger()
  end

  test "all jobs, if asked for; no job, if asked for; other pools not; detached, nothing" do
    pool = start_pool!()
    other = start_pool!()
    :ok = Telemetry.attach_default_logger(level: :debug, jobs: :all, pools: [pool])
    {:ok, _} = Stevedore.call(pool, "echo", 1)
    {:ok, _} = Stevedore.call(other, "echo", 1)
    assert_received {:logged, :debug, _, %{stevedore_event: "job.start"}}
    assert_received {:logged, :debug, line, %{stevedore_event: "job.stop", stevedore_run_us: _}}
    assert line =~ ~r/^#{inspect(pool)}: echo took \S+ [µms]+ \(waited .*, ran .*\)$/u
    refute_received {:logged, _, _, _}

    :ok = Telemetry.attach_default_logger(jobs: :none)
    {:error, _} = Stevedore.call(pool, "nope", 1)
    refute_received {:logged, _, _, _}

    :ok = Telemetry.attach_default_logger()
    :ok = Telemetry.detach_default_logger()
    {:error, _} = Stevedore.call(pool, "nope", 1)
    refute_received {:logged, _, _, _}
  end

  test "a level below which nothing is: bad news is not louder than asked for" do
    :ok = Telemetry.attach_default_logger(:critical)
    pool = start_pool!()
    {:error, _} = Stevedore.call(pool, "nope", 1)
    assert_received {:logged, :critical, _, %{stevedore_op: "nope"}}
    :ok = Telemetry.detach_default_logger()
  end

  test "wrong options" do
    for {options, text} <- [
          {[level: :loud], ~r/:level must be one of.*got: :loud/},
          {[jobs: true], ~r/:jobs must be/},
          {[pools: :some], ~r/:pools must be/},
          {[colour: 1], ~r/unknown logger option :colour/},
          {:loud, ~r/:level/},
          {"info", ~r/"info"/}
        ] do
      assert_raise ArgumentError, text, fn -> Telemetry.attach_default_logger(options) end
    end
  end

  test "every event has a line of its own or is silent, and a line is one line" do
    values = %{
      op: "o",
      cause: {:badmatch, 1},
      why: :held,
      role: :victim,
      os_pid: nil,
      hello: %{"threads" => 1},
      reason: %Error{kind: :lost, message: "m"},
      to: :open
    }

    for {[:stevedore | event], measurements, metadata} <- Events.all() do
      measurements = Map.new(measurements, &{&1, 1})
      metadata = Map.new(metadata, &{&1, values[&1]})

      case Log.line(event, measurements, metadata) do
        :silent -> assert hd(event) != :job
        {severity, text} -> assert_line(severity, IO.chardata_to_string(text))
      end
    end
  end

  defp assert_line(severity, text) do
    assert severity in [:good, :warning, :error]
    refute text =~ "\n"
  end
end
