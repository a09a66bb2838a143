defmodule Stevedore.Telemetry.EventsTest do
  use Stevedore.PoolCase, async: true

  alias Stevedore.Telemetry
  alias Stevedore.Telemetry.Events

  # Only there if a worker measured it.
  @optional [:queue_time, :run_time, :cpu_time, :in_flight]

  doctest Stevedore.Telemetry

  test "the names" do
    names = Telemetry.events()
    assert names == Enum.uniq(names)
    assert Enum.all?(names, &match?([:stevedore, _, _], &1))
    docs = Enum.map_join([:job, :worker, :pool], &Events.docs/1)
    for name <- names, do: assert(docs =~ "| `#{inspect(name)}` |")
  end

  test "every event is emitted, with what the table says, and nothing else" do
    seen = :ets.new(:seen, [:public, :bag])
    id = make_ref()
    pools = for _ <- 1..3, do: unique_name()
    :ok = :telemetry.attach_many(id, Telemetry.events(), &__MODULE__.note/4, {seen, pools})
    on_exit(fn -> :telemetry.detach(id) end)

    live_through(pools)
    :ok = :telemetry.detach(id)

    for {name, measurements, metadata} <- Events.all() do
      emitted = :ets.lookup(seen, name)
      assert emitted != [], "#{inspect(name)} was never emitted"

      for {_name, measured, known} <- emitted do
        assert Enum.sort(known) == Enum.sort(metadata), inspect(name)
        assert measured -- measurements == [], inspect(name)
        assert (measurements -- measured) -- @optional == [], inspect(name)
      end
    end
  end

  @doc false
  def note(name, measurements, %{pool: pool} = metadata, {seen, pools}) do
    if pool in pools, do: :ets.insert(seen, {name, Map.keys(measurements), Map.keys(metadata)})
  end

  defp live_through([faulty, plain, broken]) do
    quarantine = [deaths: 1, window: 60_000, for: 60_000]
    start_fault_pool!(name: faulty, threads: 2, quarantine: quarantine, kill_after: 10)
    {:ok, 1} = Stevedore.call(faulty, "echo", 1)
    neighbour = start_running!(faulty, "sleep", %{ms: 60_000}, idempotent: false)
    waiting = for _ <- 1..3, do: Stevedore.async(faulty, "sleep", %{ms: 1})
    {:error, %Error{kind: :crashed}} = Stevedore.call(faulty, "fault.crash", %{}, priority: 0)
    {:error, %Error{kind: :lost}} = Stevedore.await(neighbour)
    for job <- waiting, do: {:ok, _} = Stevedore.await(job)
    {:error, %Error{kind: :quarantined}} = Stevedore.call(faulty, "fault.crash", %{})
    :ok = Stevedore.release(faulty)
    {:error, _} = Stevedore.call(faulty, "fault.hang", %{}, timeout: 10)
    :ok = Telemetry.measure()

    start_pool!(name: plain)
    cancel_all(occupy!(plain, 1))
    :ok = Stevedore.restart(plain)
    {:error, _} = Stevedore.restart(plain, executable: "/no/such/program")
    [{worker, _os_pid}] = workers(plain)
    Process.exit(worker, :kill)
    eventually(fn -> match?([{other, _}] when other != worker, workers(plain)) end)
    :ok = Stevedore.resize(plain, 2)
    await_ready(plain, 2)
    :ok = Stevedore.drain(plain)
    :ok = stop_supervised(plain)

    storm(broken)
  end

  # A program that is gone once its first worker runs.
  defp storm(pool) do
    copy = Path.join(System.tmp_dir!(), "stevedore-#{System.unique_integer([:positive])}")
    File.cp!(program(), copy)
    on_exit(fn -> File.rm(copy) end)
    start_pool!(name: pool, executable: copy, circuit: 1, backoff_min: 1, backoff_max: 1)
    [{_pid, os_pid}] = workers(pool)
    File.rm!(copy)
    kill!(os_pid)
    eventually(fn -> match?({:ok, %{circuit: :open}}, Stevedore.stats(pool)) end)
  end
end
