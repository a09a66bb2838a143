defmodule Stevedore.TicketTest do
  use ExUnit.Case, async: true

  alias Stevedore.{Error, Protocol, Ticket}

  defp ticket(fields \\ []) do
    struct!(
      %Ticket{
        id: 1,
        ref: :erlang.alias([:reply]),
        owner: self(),
        pool: P,
        op: "op",
        body: Protocol.encode_call("op", nil),
        options: Protocol.encode_options(timeout: 5, queue_timeout: 1_000, priority: 2),
        started_at: 0,
        start_by: :infinity,
        deadline: :infinity
      },
      fields
    )
  end

  defp native(ms), do: System.convert_time_unit(ms, :millisecond, :native)
  defp options(%Ticket{options: options}), do: :erlang.binary_to_term(<<131, options::binary>>)

  test "who settles it first has settled it" do
    ticket = ticket()
    ref = ticket.ref
    :ok = Ticket.settle(ticket, %Error{kind: :lost, message: "first"})
    :ok = Ticket.settle(ticket, %Error{kind: :crashed, message: "second"})
    assert_received {^ref, {:settled, %Error{kind: :lost, message: "first", op: "op", pool: P}}}
    refute_received _
  end

  test "nobody waits for it any more" do
    assert Ticket.settle(ticket(owner: nil), %Error{kind: :lost, message: "m"}) == :ok
    refute_received _
  end

  test "it expires at its time, not before, or never" do
    refute Ticket.expired?(ticket(start_by: 10), 9)
    assert Ticket.expired?(ticket(start_by: 10), 10)
    refute Ticket.expired?(ticket(), 10)
    # Monotonic time is negative, mostly.
    assert Ticket.expired?(ticket(start_by: -10), -9)
  end

  test "what it has waited is taken off its queue_timeout, and off nothing else" do
    moved = Ticket.move(ticket(start_by: native(1_000)), native(400))
    assert options(moved) == %{timeout: 5, queue_timeout: 600, priority: 2}
    moved = Ticket.move(moved, native(990))
    assert options(moved) == %{timeout: 5, queue_timeout: 10, priority: 2}
    # A last chance, for what has not expired by a hair.
    assert options(Ticket.move(moved, native(1_000) - 1)).queue_timeout == 1
  end

  test "a job that is to run again starts a second before its caller gives up, or not at all" do
    again = Ticket.again(ticket(start_by: native(10), deadline: native(5_000)))
    assert again.reruns == 1
    refute Ticket.expired?(again, native(4_000) - 1)
    assert Ticket.expired?(again, native(4_000))
    assert options(Ticket.move(again, native(3_900))).queue_timeout == 100
    # The queue_timeout on the wire was of its first start.
    endless = Ticket.again(ticket(start_by: native(10), deadline: :infinity))
    refute Ticket.expired?(endless, native(1_000_000_000))
    assert options(endless).queue_timeout == 2_147_483_647
  end

  test "with the largest limits there are it waits as long as can be written" do
    limit = native(2 * 2_147_483_647 + 2_000)
    again = Ticket.again(ticket(start_by: native(10), deadline: limit))
    assert options(Ticket.move(again, native(5))).queue_timeout == 2_147_483_647
  end

  test "without a queue_timeout there is nothing to shorten" do
    endless = ticket(options: Protocol.encode_options([]))
    assert Ticket.move(endless, native(1)) == %{endless | moved_at: native(1)}
  end

  test "who has it since when: a worker that got it just now has all its time" do
    assert Ticket.left_since_move(ticket(), 1_000) == 0
    now = System.monotonic_time()
    assert Ticket.left_since_move(Ticket.move(ticket(), now), 60_000) in 50_000..60_000
    assert Ticket.left_since_move(Ticket.move(ticket(), now - native(2_000)), 1_000) == 0
  end

  test "waiting is since its caller asked" do
    assert Ticket.waited_ms(ticket(started_at: native(-5)), native(7)) == 12
  end

  test "the fingerprint is of op and arguments, whoever calls, when and how" do
    fingerprint = &Ticket.fingerprint(ticket(body: Protocol.encode_call(&1, &2)))

    for args <- [nil, %{a: 1}, :binary.copy("x", 10_000), %{data: :binary.copy("x", 10_000)}] do
      same = ticket(body: Protocol.encode_call("op", args), id: 2, options: "", owner: nil)
      assert fingerprint.("op", args) == Ticket.fingerprint(same)
      refute fingerprint.("po", args) == fingerprint.("op", args)
      refute fingerprint.("op", [args]) == fingerprint.("op", args)
    end
  end
end
