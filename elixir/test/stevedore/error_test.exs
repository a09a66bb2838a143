defmodule Stevedore.ErrorTest do
  use ExUnit.Case, async: true
  doctest Stevedore.Error

  alias Stevedore.{Error, Protocol}

  @definitions Path.expand("../../../proto/error_kinds.def", __DIR__)

  test "the kinds are those of proto/error_kinds.def, in its order (PROTOCOL §7)" do
    names =
      Regex.scan(~r/^X\(\w+, (\w+), /m, File.read!(@definitions), capture: :all_but_first)

    assert Enum.map(Error.kinds(), &Atom.to_string/1) == List.flatten(names)
  end

  test "the documentation has every kind" do
    {:docs_v1, _, _, _, %{"en" => doc}, _, _} = Code.fetch_docs(Error)
    for kind <- Error.kinds(), do: assert(doc =~ "`:#{kind}`")
  end

  test "a kind that is not in the list is no reply" do
    frame = :erlang.term_to_binary({:error, 1, :other, %{"message" => "m"}, {0, 0, 0}})
    assert Protocol.decode_reply(frame) == :malformed
  end

  test "the message says kind, what happened, where, and what to do" do
    error = %Error{kind: :overloaded, message: "the queue is full", op: "digest", pool: My.Pool}

    assert Exception.message(error) ==
             "overloaded: the queue is full (op digest, pool My.Pool). " <>
               "It never ran: try later, or raise :max_queue or :workers."

    assert Exception.message(%Error{kind: :failed, message: "m"}) == "failed: m."

    # No job, nothing that could be tried again.
    error = %Error{kind: :unavailable, message: "a worker could not start", pool: My.Pool}
    assert Exception.message(error) == "unavailable: a worker could not start (pool My.Pool)."
    assert Exception.message(%{error | op: "digest"}) =~ "It never ran"
  end
end
