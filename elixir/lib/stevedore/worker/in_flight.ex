defmodule Stevedore.Worker.InFlight do
  @moduledoc false
  # Who waits for which id. Pure.
  #
  # Callers stay known, and monitored, after their last job until they die: a monitor per job would
  # interrupt each caller twice while it waits, which costs about as much as all the rest of a small
  # call.

  alias Stevedore.{Protocol, Ticket}

  # `taken`: how many jobs there have ever been.
  defstruct tickets: %{}, callers: %{}, taken: 0

  @type t :: %__MODULE__{
          tickets: %{Protocol.id() => Ticket.t()},
          callers: %{pid => true},
          taken: non_neg_integer
        }

  @spec new() :: t
  def new, do: %__MODULE__{}

  @doc "Whether this caller has had a job here before, and so is monitored."
  @spec caller?(t, pid) :: boolean
  def caller?(in_flight, pid), do: is_map_key(in_flight.callers, pid)

  @doc "Remembers a caller, which is monitored from now on."
  @spec add_caller(t, pid) :: t
  def add_caller(in_flight, pid),
    do: %{in_flight | callers: Map.put(in_flight.callers, pid, true)}

  @doc "Adds a job, whose id must be free."
  @spec add(t, Ticket.t()) :: t
  def add(in_flight, ticket) do
    tickets = Map.put(in_flight.tickets, ticket.id, ticket)
    %{in_flight | tickets: tickets, taken: in_flight.taken + 1}
  end

  @doc "Replaces what is known of a job."
  @spec put(t, Ticket.t()) :: t
  def put(in_flight, ticket) do
    %{in_flight | tickets: Map.put(in_flight.tickets, ticket.id, ticket)}
  end

  @doc "Removes a job: its terminal reply is there, or it was taken back."
  @spec take(t, Protocol.id()) :: {Ticket.t(), t} | :error
  def take(in_flight, id) do
    case :maps.take(id, in_flight.tickets) do
      {ticket, tickets} -> {ticket, %{in_flight | tickets: tickets}}
      :error -> :error
    end
  end

  @doc "The same for several, those that are there."
  @spec take_all(t, [Protocol.id()]) :: {[Ticket.t()], t}
  def take_all(in_flight, ids) do
    Enum.flat_map_reduce(ids, in_flight, fn id, in_flight ->
      case take(in_flight, id) do
        {ticket, in_flight} -> {[ticket], in_flight}
        :error -> {[], in_flight}
      end
    end)
  end

  @spec fetch(t, Protocol.id()) :: {:ok, Ticket.t()} | :error
  def fetch(in_flight, id), do: Map.fetch(in_flight.tickets, id)

  @doc "The job of that id, if it is that very one."
  @spec fetch(t, Protocol.id(), reference) :: {:ok, Ticket.t()} | :error
  def fetch(in_flight, id, ref) do
    case in_flight.tickets do
      %{^id => %Ticket{ref: ^ref} = ticket} -> {:ok, ticket}
      _other -> :error
    end
  end

  @doc "Nobody waits for this job any more, but its id is in use until the terminal reply."
  @spec abandon(t, Ticket.t()) :: t
  def abandon(in_flight, ticket) do
    put(in_flight, %{ticket | owner: nil, on_progress: nil, cancelled: true})
  end

  @doc "Forgets a caller, and returns the jobs that it had waited for."
  @spec drop_caller(t, pid) :: {[Ticket.t()], t}
  def drop_caller(in_flight, pid) do
    tickets = for {_id, %Ticket{owner: ^pid} = ticket} <- in_flight.tickets, do: ticket
    {tickets, %{in_flight | callers: Map.delete(in_flight.callers, pid)}}
  end

  @spec size(t) :: non_neg_integer
  def size(in_flight), do: map_size(in_flight.tickets)
end
