defmodule Stevedore.Worker.InFlight do
  @moduledoc false
  # The jobs of the calling process, a worker: who waits for which id.
  #
  # They are in its process dictionary: nearly all that happens to a ticket here is that it is put in and taken out again,
  # once each, and a map that grows and shrinks costs half a microsecond more for that (docs/decisions/0006). Nobody else sees them, and
  # a worker that ends with a crash report has none left by then (ending.ex).
  #
  # Callers stay known, and monitored, after their last job until they die: a monitor per job would
  # interrupt each caller twice while it waits, which costs about as much as all the rest of a small
  # call. They are a map under one key: there may be very many, and each garbage collection goes through the dictionary.

  alias Stevedore.{Protocol, Ticket}

  # Keys of the dictionary, beside ids, which are integers.
  @callers :stevedore_callers
  @taken :stevedore_jobs_taken
  @gone :stevedore_jobs_gone

  @doc "Whether this caller has had a job here before, and so is monitored."
  @spec caller?(pid) :: boolean
  def caller?(pid), do: is_map_key(callers(), pid)

  @doc "Remembers a caller, which is monitored from now on."
  @spec add_caller(pid) :: :ok
  def add_caller(pid) do
    _before = Process.put(@callers, Map.put(callers(), pid, true))
    :ok
  end

  defp callers, do: Process.get(@callers, %{})

  @doc "Adds a job, whose id must be free."
  @spec add(Ticket.t()) :: :ok
  def add(ticket) do
    nil = Process.put(ticket.id, ticket)
    count(@taken)
  end

  @doc "Replaces what is known of a job."
  @spec put(Ticket.t()) :: :ok
  def put(ticket) do
    _old = Process.put(ticket.id, ticket)
    :ok
  end

  @doc "Removes a job: its terminal reply is there, or it was taken back."
  @spec take(Protocol.id()) :: Ticket.t() | nil
  def take(id) do
    with %Ticket{} = ticket <- Process.delete(id) do
      :ok = count(@gone)
      ticket
    end
  end

  @spec fetch(Protocol.id()) :: {:ok, Ticket.t()} | :error
  def fetch(id) do
    case Process.get(id) do
      nil -> :error
      ticket -> {:ok, ticket}
    end
  end

  @doc "The job of that id, if it is that very one."
  @spec fetch(Protocol.id(), reference) :: {:ok, Ticket.t()} | :error
  def fetch(id, ref) do
    case Process.get(id) do
      %Ticket{ref: ^ref} = ticket -> {:ok, ticket}
      _other -> :error
    end
  end

  @doc "Nobody waits for this job any more, but its id is in use until the terminal reply."
  @spec abandon(Ticket.t()) :: :ok
  def abandon(ticket), do: put(%{ticket | owner: nil, on_progress: nil, cancelled: true})

  @doc "Forgets callers, and returns the jobs that they had waited for."
  @spec drop_callers([pid]) :: [Ticket.t()]
  def drop_callers(pids) do
    _before = Process.put(@callers, Map.drop(callers(), pids))
    dead = MapSet.new(pids)
    for {id, ticket} when is_integer(id) <- Process.get(), ticket.owner in dead, do: ticket
  end

  @doc "All jobs, the oldest first."
  @spec tickets() :: [Ticket.t()]
  def tickets do
    tickets = for {id, ticket} when is_integer(id) <- Process.get(), do: ticket
    Enum.sort_by(tickets, & &1.started_at)
  end

  @doc "How many there are."
  @spec size() :: non_neg_integer
  def size, do: taken() - Process.get(@gone, 0)

  @doc "How many there have ever been."
  @spec taken() :: non_neg_integer
  def taken, do: Process.get(@taken, 0)

  @doc "Forgets everything."
  @spec clear() :: :ok
  def clear do
    for {key, _value} when is_integer(key) or key in [@callers, @taken, @gone] <-
          Process.get(),
        do: Process.delete(key)

    :ok
  end

  defp count(counter) do
    _before = Process.put(counter, Process.get(counter, 0) + 1)
    :ok
  end
end
