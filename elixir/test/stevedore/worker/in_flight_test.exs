defmodule Stevedore.Worker.InFlightTest do
  use ExUnit.Case, async: true

  alias Stevedore.Job
  alias Stevedore.Worker.InFlight

  @last 2_147_483_647

  defp job, do: %Job{ref: make_ref(), pool: P, op: "op", owner: self(), started_at: 0}

  defp put(in_flight, id, job),
    do: in_flight |> InFlight.add_caller(job.owner) |> InFlight.put(id, job)

  defp add(in_flight, job \\ job()) do
    id = InFlight.next_id(in_flight)
    {id, InFlight.put(in_flight, id, job)}
  end

  test "a job is found by its id and by its reference until it is taken" do
    job = job()
    in_flight = InFlight.put(InFlight.new(), 0, job)

    assert InFlight.fetch(in_flight, 0) == {:ok, job}
    assert InFlight.id(in_flight, job) == {:ok, 0}
    assert {^job, rest} = InFlight.take(in_flight, 0)
    assert InFlight.take(rest, 0) == :error
    assert InFlight.fetch(rest, 0) == :error
    assert InFlight.id(rest, job) == :error
    assert InFlight.size(rest) == 0
  end

  test "ids wrap within 31 bits and skip those in use (PROTOCOL §4.1)" do
    {0, in_flight} = add(InFlight.new(0))
    {1, in_flight} = add(in_flight)
    in_flight = %{in_flight | next: @last}
    {@last, in_flight} = add(in_flight)
    assert {2, _} = add(in_flight)
  end

  test "a caller stays known after its jobs, until it is dropped" do
    job = job()
    refute InFlight.caller?(InFlight.new(), self())
    {_job, in_flight} = InFlight.new() |> put(0, job) |> InFlight.take(0)
    assert InFlight.caller?(in_flight, self())
    assert {[], in_flight} = InFlight.drop_caller(in_flight, self())
    refute InFlight.caller?(in_flight, self())
  end

  test "a dropped caller's jobs are those that it still waits for" do
    {other, _} = spawn_monitor(fn -> :ok end)
    [a, b, c] = [job(), job(), job()]
    d = %{job() | owner: other}

    in_flight =
      Enum.reduce([{0, a}, {1, b}, {2, c}, {3, d}], InFlight.new(), fn {id, job}, in_flight ->
        InFlight.put(in_flight, id, job)
      end)

    {^a, in_flight} = InFlight.take(in_flight, 0)
    in_flight = InFlight.abandon(in_flight, 1)
    assert {[{2, ^c}], in_flight} = InFlight.drop_caller(in_flight, self())
    # Their ids are in use until the terminal replies.
    assert InFlight.size(in_flight) == 3
    assert {^c, in_flight} = InFlight.take(in_flight, 2)
    assert {[{3, ^d}], _} = InFlight.drop_caller(in_flight, other)
  end

  test "an abandoned job keeps its id and wants no progress" do
    job = %{job() | on_progress: self()}
    in_flight = InFlight.new() |> InFlight.put(0, job) |> InFlight.abandon(0)
    assert {:ok, %Job{on_progress: nil, owner: nil}} = InFlight.fetch(in_flight, 0)
    assert InFlight.id(in_flight, job) == :error
    assert InFlight.size(in_flight) == 1
    assert {%Job{}, in_flight} = InFlight.take(in_flight, 0)
    assert InFlight.size(in_flight) == 0
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
      assert InFlight.id(in_flight, job) == {:ok, id}
      assert {^job, in_flight} = InFlight.take(in_flight, id)
      run(in_flight, Map.delete(model, id), steps - 1)
    end
  end
end
