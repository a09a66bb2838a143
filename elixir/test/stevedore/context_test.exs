defmodule Stevedore.ContextTest do
  use Stevedore.PoolCase, async: true

  @events for [:stevedore, :job, what] <- Stevedore.Telemetry.events(), do: [:job, what]

  defp assert_all(context, events) do
    for event <- events do
      assert_receive {:event, [:job, ^event], _, %{context: found}}
      assert found == context
    end
  end

  test "it is in all events of the job, whoever emits them" do
    pool = start_fault_pool!(threads: 1)
    forward_events(pool, @events)

    {:ok, 1} = Stevedore.call(pool, "echo", 1, context: {:any, %{"term" => 1}})
    assert_all({:any, %{"term" => 1}}, [:start, :stop])

    {:error, _} = Stevedore.call(pool, "fault.crash", %{}, context: :culprit)
    assert_all(:culprit, [:start, :settled, :exception])

    job = start_running!(pool, "sleep", %{ms: 60_000}, context: :first, idempotent: true)
    [{_pid, os_pid}] = workers(pool)
    kill!(os_pid)
    assert_receive {:event, [:job, :moved], _, %{context: :first, why: :run_again}}
    eventually(fn -> job.id in running(pool) end)
    cancel_all([job])
    assert_receive {:event, [:job, :cancel], _, %{context: :first, why: :cancel}}
    assert_receive {:event, [:job, :exception], _, %{context: :first}}
  end

  test "also when the caller has died, or there is no pool" do
    pool = start_pool!()
    forward_events(pool, @events)

    {_caller, monitor} =
      spawn_monitor(fn -> Stevedore.async(pool, "sleep", %{ms: 60_000}, context: :orphan) end)

    assert_receive {:DOWN, ^monitor, _, _, _}
    assert_all(:orphan, [:start, :exception])

    nowhere = unique_name()
    forward_events(nowhere, @events)
    {:error, _} = Stevedore.call(nowhere, "echo", 1, context: 7)
    assert_all(7, [:start, :exception])
  end

  test "of a stream's jobs, too; without it there is none" do
    pool = start_pool!()
    forward_events(pool, @events)
    options = [context: :stream]
    [_, _] = pool |> Stevedore.async_stream([1, 2], "echo", & &1, options) |> Enum.to_list()
    assert_all(:stream, [:start, :start, :stop, :stop])

    {:ok, 1} = Stevedore.call(pool, "echo", 1)
    assert_all(nil, [:start, :stop])
  end
end
