defmodule Stevedore.Worker.InFlightTest do
  # What is in flight is the calling process's own, and each test is one.
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

  test "a job is found by its id, and only by its own reference, until it is taken" do
    ticket = ticket(7)
    :ok = InFlight.add(ticket)

    assert InFlight.fetch(7) == {:ok, ticket}
    assert InFlight.fetch(7, ticket.ref) == {:ok, ticket}
    assert InFlight.fetch(7, make_ref()) == :error
    assert InFlight.take(7) == ticket
    assert InFlight.take(7) == nil
    assert InFlight.fetch(7) == :error
    assert InFlight.fetch(7, ticket.ref) == :error
    assert InFlight.size() == 0
  end

  test "it counts the jobs that there have ever been" do
    Enum.each([ticket(1), ticket(2)], &InFlight.add/1)
    %Ticket{} = InFlight.take(1)
    :ok = InFlight.put(%{ticket(2) | cancelled: true})
    assert InFlight.taken() == 2
    assert InFlight.size() == 1
    assert {:ok, %Ticket{cancelled: true}} = InFlight.fetch(2)
  end

  test "a caller stays known after its jobs, until it is dropped" do
    refute InFlight.caller?(self())
    :ok = InFlight.add_caller(self())
    :ok = InFlight.add(ticket(0))
    %Ticket{} = InFlight.take(0)
    assert InFlight.caller?(self())
    assert InFlight.drop_callers([self()]) == []
    refute InFlight.caller?(self())
  end

  test "a dropped caller's jobs are those that it still waits for" do
    {other, _} = spawn_monitor(fn -> :ok end)
    [a, b, c, d] = for id <- 0..3, do: ticket(id)
    d = %{d | owner: other}

    Enum.each([a, b, c, d], &InFlight.add/1)
    assert InFlight.take(0) == a
    :ok = InFlight.abandon(b)
    assert InFlight.drop_callers([self()]) == [c]
    # Their ids are in use until the terminal replies.
    assert InFlight.size() == 3
    assert InFlight.take(2) == c
    assert InFlight.drop_callers([other]) == [d]
  end

  test "callers that are dropped together leave all their jobs" do
    [one, other, third] = for _ <- 1..3, do: spawn(fn -> :ok end)

    jobs =
      for {owner, id} <- Enum.with_index([one, other, third, one]),
          do: %{ticket(id) | owner: owner}

    Enum.each(jobs, &InFlight.add/1)
    dropped = InFlight.drop_callers([one, other])
    assert Enum.sort(Enum.map(dropped, & &1.id)) == [0, 1, 3]
  end

  test "an abandoned job keeps its id, wants no progress and is not run again" do
    ticket = %{ticket(0) | on_progress: self()}
    :ok = InFlight.add(ticket)
    :ok = InFlight.abandon(ticket)

    assert {:ok, %Ticket{on_progress: nil, owner: nil, cancelled: true}} = InFlight.fetch(0)
    assert InFlight.size() == 1
    assert %Ticket{} = InFlight.take(0)
    assert InFlight.size() == 0
  end

  test "the oldest come first, whatever their ids" do
    tickets = for age <- Enum.shuffle(1..100), do: %{ticket(1_000 - age) | started_at: -age}
    Enum.each(tickets, &InFlight.add/1)
    assert Enum.map(InFlight.tickets(), & &1.started_at) == Enum.to_list(-100..-1)
  end

  test "when it is cleared nothing is left, and nothing else is touched" do
    before = Process.get()
    :ok = InFlight.add_caller(self())
    :ok = InFlight.add(ticket(0))
    assert InFlight.tickets() != []
    :ok = InFlight.clear()
    assert Enum.sort(Process.get()) == Enum.sort(before)
  end

  test "any sequence of adding and taking agrees with a plain map" do
    for seed <- 1..50 do
      :rand.seed(:exsss, {seed, 0, 0})
      :ok = InFlight.clear()
      run(%{}, 200)
    end
  end

  defp run(model, 0) do
    assert InFlight.size() == map_size(model)
    assert Map.new(InFlight.tickets(), &{&1.id, &1}) == model
  end

  defp run(model, steps) do
    if :rand.uniform(5) <= 3 or model == %{} do
      ticket = ticket(steps)
      :ok = InFlight.add(ticket)
      run(Map.put(model, steps, ticket), steps - 1)
    else
      {id, ticket} = Enum.random(model)
      assert InFlight.fetch(id, ticket.ref) == {:ok, ticket}
      assert InFlight.take(id) == ticket
      run(Map.delete(model, id), steps - 1)
    end
  end
end
