defmodule Stevedore.Worker.InFlightTest do
  use ExUnit.Case, async: true

  alias Stevedore.Ticket
  alias Stevedore.Worker.InFlight

  defp ticket(id) do
    %Ticket{
      id: id,
      ref: make_ref(),
      owner: self(),
      pool: P,
      op: "op",
      body: "",
      options: "",
      started_at: 0,
      start_by: :infinity,
      deadline: :infinity
    }
  end

  defp add_all(tickets), do: Enum.reduce(tickets, InFlight.new(), &InFlight.add(&2, &1))

  test "a job is found by its id, and only by its own reference, until it is taken" do
    ticket = ticket(7)
    in_flight = InFlight.add(InFlight.new(), ticket)

    assert InFlight.fetch(in_flight, 7) == {:ok, ticket}
    assert InFlight.fetch(in_flight, 7, ticket.ref) == {:ok, ticket}
    assert InFlight.fetch(in_flight, 7, make_ref()) == :error
    assert {^ticket, rest} = InFlight.take(in_flight, 7)
    assert InFlight.take(rest, 7) == :error
    assert InFlight.fetch(rest, 7) == :error
    assert InFlight.fetch(rest, 7, ticket.ref) == :error
    assert InFlight.size(rest) == 0
  end

  test "it counts the jobs that there have ever been" do
    in_flight = add_all([ticket(1), ticket(2)])
    {_ticket, in_flight} = InFlight.take(in_flight, 1)
    in_flight = InFlight.put(in_flight, %{ticket(2) | cancelled: true})
    assert in_flight.taken == 2
    assert InFlight.size(in_flight) == 1
    assert {:ok, %Ticket{cancelled: true}} = InFlight.fetch(in_flight, 2)
  end

  test "a caller stays known after its jobs, until it is dropped" do
    refute InFlight.caller?(InFlight.new(), self())
    in_flight = InFlight.new() |> InFlight.add_caller(self()) |> InFlight.add(ticket(0))
    {_ticket, in_flight} = InFlight.take(in_flight, 0)
    assert InFlight.caller?(in_flight, self())
    assert {[], in_flight} = InFlight.drop_caller(in_flight, self())
    refute InFlight.caller?(in_flight, self())
  end

  test "a dropped caller's jobs are those that it still waits for" do
    {other, _} = spawn_monitor(fn -> :ok end)
    [a, b, c, d] = for id <- 0..3, do: ticket(id)
    d = %{d | owner: other}

    {^a, in_flight} = InFlight.take(add_all([a, b, c, d]), 0)
    in_flight = InFlight.abandon(in_flight, b)
    assert {[^c], in_flight} = InFlight.drop_caller(in_flight, self())
    # Their ids are in use until the terminal replies.
    assert InFlight.size(in_flight) == 3
    assert {^c, in_flight} = InFlight.take(in_flight, 2)
    assert {[^d], _} = InFlight.drop_caller(in_flight, other)
  end

  test "an abandoned job keeps its id, wants no progress and is not run again" do
    ticket = %{ticket(0) | on_progress: self()}
    in_flight = InFlight.new() |> InFlight.add(ticket) |> InFlight.abandon(ticket)

    assert {:ok, %Ticket{on_progress: nil, owner: nil, cancelled: true}} =
             InFlight.fetch(in_flight, 0)

    assert InFlight.size(in_flight) == 1
    assert {%Ticket{}, in_flight} = InFlight.take(in_flight, 0)
    assert InFlight.size(in_flight) == 0
  end

  test "any sequence of adding and taking agrees with a plain map" do
    for seed <- 1..50 do
      :rand.seed(:exsss, {seed, 0, 0})
      run(InFlight.new(), %{}, 200)
    end
  end

  defp run(in_flight, model, 0), do: assert(InFlight.size(in_flight) == map_size(model))

  defp run(in_flight, model, steps) do
    if :rand.uniform(5) <= 3 or model == %{} do
      ticket = ticket(steps)
      run(InFlight.add(in_flight, ticket), Map.put(model, steps, ticket), steps - 1)
    else
      {id, ticket} = Enum.random(model)
      assert InFlight.fetch(in_flight, id, ticket.ref) == {:ok, ticket}
      assert {^ticket, in_flight} = InFlight.take(in_flight, id)
      run(in_flight, Map.delete(model, id), steps - 1)
    end
  end
end
