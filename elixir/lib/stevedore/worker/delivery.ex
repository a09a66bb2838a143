defmodule Stevedore.Worker.Delivery do
  @moduledoc false
  # What the process says, on its way to those it is for: replies, progress, logs. Replies are not decoded here.
  # Runs in the worker's process, and all jobs pass through it.

  require Logger

  alias Stevedore.{Dispatch, Protocol, Ticket, Worker}
  alias Stevedore.Worker.InFlight

  @doc "Delivers replies, up to the first message that is something else; what is left then."
  @spec replies([Protocol.message()]) :: [Protocol.message()]
  def replies([{id, message} | messages]) do
    ticket = InFlight.take(id)
    hand_over(message, ticket)
    replies(messages)
  end

  def replies([message | messages] = all) do
    with {:reply, id} <- Protocol.route(message),
         %Ticket{} = ticket <- InFlight.take(id) do
      hand_over(message, ticket)
      replies(messages)
    else
      _other -> all
    end
  end

  def replies([]), do: []

  defp hand_over(message, %Ticket{reruns: 0, moved_at: nil, cancelled: false, ref: ref}),
    do: send(ref, {ref, message})

  defp hand_over(message, %Ticket{reruns: 0, ref: ref} = ticket) do
    send(ref, {ref, message})
    Ticket.forget(ticket)
  end

  # What says that a job never ran is not true of one that was running in a worker that died.
  defp hand_over(message, %Ticket{ref: ref} = ticket) do
    case Protocol.decode_reply(message) do
      {:error, kind, %{"message" => text}, %{ran_us: 0}}
      when kind in [:overloaded, :queue_timeout, :unavailable, :cancelled] ->
        Dispatch.refuse(ticket, {kind, text, %{}}, System.monotonic_time())

      _it_ran ->
        send(ref, {ref, message})
        Ticket.forget(ticket)
    end
  end

  @doc """
  Tells who wants to know how far a job is. A process of another node misses what cannot be sent at once: a connection that
  hangs must not suspend this one.
  """
  @spec progress(Ticket.t(), integer, integer, Protocol.message()) :: :ok
  def progress(%Ticket{on_progress: nil}, _done, _total, _message), do: :ok

  def progress(%Ticket{on_progress: :caller, ref: ref}, _done, _total, message) do
    send(ref, {ref, message})
    :ok
  end

  def progress(%Ticket{on_progress: pid, ref: ref}, done, total, _message) do
    report = {:stevedore_progress, ref, done, total}
    _sent = :erlang.send(pid, report, [:nosuspend, :noconnect])
    :ok
  end

  @doc "Logs what was printed or logged by a job, or by nobody in particular."
  @spec log(Logger.level(), String.t(), Protocol.id() | nil, Worker.t()) :: :ok
  def log(level, text, id, worker) do
    pool = [domain: [:stevedore], stevedore_pool: worker.pool]
    Logger.log(level, text, job(id) ++ pool)
  end

  defp job(nil), do: []

  defp job(id) do
    case InFlight.fetch(id) do
      {:ok, %Ticket{op: op, ref: ref}} -> [stevedore_op: op, stevedore_job: ref]
      :error -> []
    end
  end
end
