defmodule Stevedore.Dispatcher.Held do
  @moduledoc false
  # Jobs that came when no worker was ready, in the order in which they came. Pure, but for the number that each gets.

  alias Stevedore.Ticket

  @type t :: %{{id :: non_neg_integer, reference} => {number :: integer, Ticket.t()}}

  @spec new() :: t
  def new, do: %{}

  @spec size(t) :: non_neg_integer
  def size(held), do: map_size(held)

  @spec add(t, Ticket.t()) :: t
  def add(held, ticket) do
    Map.put(held, {ticket.id, ticket.ref}, {System.unique_integer([:monotonic]), ticket})
  end

  @spec find(t, non_neg_integer, reference) :: Ticket.t() | nil
  def find(held, id, ref) do
    with {_number, ticket} <- held[{id, ref}], do: ticket
  end

  @spec drop(t, Ticket.t()) :: t
  def drop(held, ticket), do: Map.delete(held, {ticket.id, ticket.ref})

  @doc "All of them, the first that came first."
  @spec tickets(t) :: [Ticket.t()]
  def tickets(held) do
    for {_number, ticket} <- held |> Map.values() |> List.keysort(0), do: ticket
  end

  @doc "The same, those that go first before all others."
  @spec by_priority(t) :: [Ticket.t()]
  def by_priority(held), do: held |> tickets() |> Enum.sort_by(&priority/1)

  # It is in the options as they go to the worker (PROTOCOL §4.1).
  defp priority(%Ticket{options: options}) do
    case :binary.split(options, "priority") do
      [_before, <<97, priority, _::binary>>] -> priority
      [_none] -> 5
    end
  end
end
