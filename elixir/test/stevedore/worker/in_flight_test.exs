defmodule Stevedore.Worker.InFlightTest do
  use ExUnit.Case, async: true

  alias Stevedore.Job
  alias Stevedore.Worker.InFlight

  @last 2_147_483_647

  defp job, do: %Job{ref: make_ref(), pool: P, op: "op", owner: self(), started_at: 0}

  defp add(in_flight, job \\ job()) do
    id = InFlight.next_id(in_flight)
    {id, InFlight.put(in_flight, id, job, make_ref())}
  end

  test "a job is found by its id and by its reference until it is taken" do
    job = job()
    monitor = make_ref()
    in_flight = InFlight.put(InFlight.new(), 0, job, monitor)

    assert InFlight.fetch(in_flight, 0) == {:ok, job}
    assert InFlight.id(in_flight, job.ref) == {:ok, 0}
    assert {^job, ^monitor, rest} = InFlight.take(in_flight, 0)
    assert InFlight.take(rest, 0) == :error
    assert InFlight.fetch(rest, 0) == :error
    assert InFlight.id(rest, job.ref) == :error
    assert InFlight.size(rest) == 0
  end

  test "ids wrap within 31 bits and skip those in use (PROTOCOL §4.1)" do
    {0, in_flight} = add(InFlight.new(0))
    {1, in_flight} = add(in_flight)
    in_flight = %{in_flight | next: @last}
    {@last, in_flight} = add(in_flight)
    assert {2, _} = add(in_flight)
  end

  test "only the caller that waits is waiting" do
    job = job()
    monitor = make_ref()
    in_flight = InFlight.put(InFlight.new(), 0, job, monitor)

    assert InFlight.waiting(in_flight, 0, monitor) == {:ok, job}
    assert InFlight.waiting(in_flight, 0, make_ref()) == :error
    assert InFlight.waiting(in_flight, 1, monitor) == :error
    assert in_flight |> InFlight.abandon(0) |> InFlight.waiting(0, monitor) == :error
  end

  test "an abandoned job keeps its id and wants no progress" do
    in_flight = InFlight.put(InFlight.new(), 0, %{job() | on_progress: self()}, make_ref())
    in_flight = InFlight.abandon(in_flight, 0)
    assert {:ok, %Job{on_progress: nil, owner: nil}} = InFlight.fetch(in_flight, 0)
    assert InFlight.size(in_flight) == 1
  end

  test "any sequence of adding and taking agrees with a plain map" do
    for seed <- 1..50 do
      :rand.seed(:exsss, {seed, 0, 0})
      # A start near the end of the ids, so that the wrap is always in it.
      run(InFlight.new(@last - 20), %{}, 200)
    end
  end

  defp run(in_flight, model, 0), do: assert(InFlight.size(in_flight) == map_size(model))

  defp run(in_flight, model, steps) do
    if :rand.uniform(5) <= 3 or model == %{} do
      job = job()
      {id, in_flight} = add(in_flight, job)
      assert id in 0..@last and not is_map_key(model, id)
      run(in_flight, Map.put(model, id, job), steps - 1)
    else
      {id, job} = Enum.random(model)
      assert InFlight.id(in_flight, job.ref) == {:ok, id}
      assert {^job, _monitor, in_flight} = InFlight.take(in_flight, id)
      run(in_flight, Map.delete(model, id), steps - 1)
    end
  end
end
