defmodule Stevedore.Worker.Intake do
  @moduledoc false
  # Jobs on their way into the process: what waits in the mailbox goes out in one frame.

  alias Stevedore.{Error, Protocol, Ticket, Worker}
  alias Stevedore.Worker.InFlight

  # A frame is full with so many calls, or so many bytes.
  @batch_calls 64
  @batch_bytes 65_536

  @doc "Writes this job, and those that wait, to the port; returns what is in flight then."
  @spec take(Ticket.t(), Worker.t()) :: InFlight.t()
  def take(ticket, %{in_flight: in_flight} = worker) do
    # Others who are about to call get on the same frame. A first one need not wait for them.
    _ = if InFlight.size(in_flight) > 0, do: :erlang.yield()

    case accept(in_flight, ticket) do
      {:ok, in_flight} ->
        size = Protocol.batch_overhead() + Protocol.element_size(ticket)
        drain(worker, in_flight, [ticket], size, @batch_calls - 1)

      :refused ->
        in_flight
    end
  end

  # A call that is large goes alone, so that it holds up no other and a frame never exceeds its limit.
  defp drain(worker, in_flight, calls, _bytes, 0), do: write(worker, in_flight, calls)

  defp drain(worker, in_flight, calls, bytes, left) do
    receive do
      {:stevedore_call, ticket} ->
        case accept(in_flight, ticket) do
          {:ok, in_flight} -> add(worker, in_flight, calls, bytes, left, ticket)
          :refused -> drain(worker, in_flight, calls, bytes, left)
        end
    after
      0 -> write(worker, in_flight, calls)
    end
  end

  defp add(worker, in_flight, calls, bytes, left, ticket) do
    size = Protocol.element_size(ticket)

    if bytes + size <= @batch_bytes do
      drain(worker, in_flight, [ticket | calls], bytes + size, left - 1)
    else
      in_flight = write(worker, in_flight, calls)
      drain(worker, in_flight, [ticket], Protocol.batch_overhead() + size, left - 1)
    end
  end

  defp write(worker, in_flight, calls) do
    Worker.command(worker, Protocol.requests(calls))
    in_flight
  end

  # An id in use is that of the same job, sent off again by mistake, or comes from 2^31 jobs ago.
  defp accept(in_flight, %Ticket{id: id, ref: ref} = ticket) do
    case InFlight.fetch(in_flight, id) do
      :error -> {:ok, in_flight |> know_caller(ticket.owner) |> InFlight.add(ticket)}
      {:ok, %Ticket{ref: ^ref}} -> :refused
      {:ok, _other} -> refuse_id(ticket)
    end
  end

  defp refuse_id(ticket) do
    message = "its id is still in use, 2^31 jobs later: try again"
    :ok = Ticket.settle(ticket, %Error{kind: :unavailable, message: message})
    :refused
  end

  defp know_caller(in_flight, pid) do
    if InFlight.caller?(in_flight, pid) do
      in_flight
    else
      _monitor = Process.monitor(pid)
      InFlight.add_caller(in_flight, pid)
    end
  end
end
