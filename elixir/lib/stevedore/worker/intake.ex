defmodule Stevedore.Worker.Intake do
  @moduledoc false
  # Jobs on their way into the process: what waits in the mailbox goes out in one frame.

  alias Stevedore.{Error, Protocol, Ticket, Worker}
  alias Stevedore.Worker.InFlight

  # A frame is full with so many calls, or so many bytes.
  @batch_calls 64
  @batch_bytes 65_536

  @doc "Writes this job, and those that wait, to the port; they are in flight then."
  @spec take(Ticket.t(), Worker.t()) :: :ok
  def take(ticket, worker) do
    # Others who are about to call get on the same frame. With nobody else about, this costs a tenth of a microsecond.
    true = :erlang.yield()

    case accept(ticket) do
      :ok -> begin_frame(worker, ticket)
      :refused -> :ok
    end
  end

  defp begin_frame(worker, ticket) do
    size = Protocol.batch_overhead() + Protocol.element_size(ticket)
    drain(worker, [ticket], size, @batch_calls - 1)
  end

  # A call that is large goes alone, so that it holds up no other and a frame never exceeds its limit.
  defp drain(worker, calls, _bytes, 0), do: write(worker, calls)

  defp drain(worker, calls, bytes, left) do
    receive do
      {:stevedore_call, ticket} ->
        case accept(ticket) do
          :ok -> add(worker, calls, bytes, left, ticket)
          :refused -> drain(worker, calls, bytes, left)
        end
    after
      0 -> write(worker, calls)
    end
  end

  defp add(worker, calls, bytes, left, ticket) do
    size = Protocol.element_size(ticket)

    if bytes + size <= @batch_bytes do
      drain(worker, [ticket | calls], bytes + size, left - 1)
    else
      :ok = write(worker, calls)
      drain(worker, [ticket], Protocol.batch_overhead() + size, left - 1)
    end
  end

  defp write(worker, calls), do: Worker.command(worker, Protocol.requests(calls))

  # An id in use is that of the same job, sent off again by mistake, or comes from 2^31 jobs ago.
  defp accept(%Ticket{id: id, ref: ref} = ticket) do
    case InFlight.fetch(id) do
      :error -> take_in(ticket)
      {:ok, %Ticket{ref: ^ref}} -> :refused
      {:ok, _other} -> refuse_id(ticket)
    end
  end

  defp refuse_id(ticket) do
    message = "its id is still in use, 2^31 jobs later: try again"
    :ok = Ticket.settle(ticket, %Error{kind: :unavailable, message: message})
    :refused
  end

  defp take_in(%Ticket{owner: caller} = ticket) do
    if not InFlight.caller?(caller) do
      _monitor = Process.monitor(caller)
      :ok = InFlight.add_caller(caller)
    end

    InFlight.add(ticket)
  end
end
