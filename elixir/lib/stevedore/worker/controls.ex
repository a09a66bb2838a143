defmodule Stevedore.Worker.Controls do
  @moduledoc false
  # What a worker itself asks of its process: to give jobs back, and for its counters. These calls are nobody's job;
  # `controls` says of each by its id what its answer is for. Runs in the worker's process.

  alias Stevedore.{Dispatch, Protocol, Roster, Worker}
  alias Stevedore.Worker.InFlight

  @all 0x7FFFFFFF

  @doc "Asks for jobs that have not started (PROTOCOL §6); they move on when the answer is there."
  @spec take_back(Worker.t(), non_neg_integer | :all, atom) :: Worker.t()
  def take_back(worker, :all, why), do: take_back(worker, @all, why)
  def take_back(worker, count, why), do: call(worker, "take_back", count, {:take_back, why})

  @doc "Whether an answer to `take_back/3` is still to come."
  @spec taking_back?(Worker.t()) :: boolean
  def taking_back?(%{controls: controls}),
    do: Enum.any?(controls, &match?({_id, {:take_back, _why}}, &1))

  @doc "Asks for the counters (PROTOCOL §6), for who waits at that alias: a map, or `nil` if there are none."
  @spec ask_stats(Worker.t(), reference) :: Worker.t()
  def ask_stats(%{phase: :booting} = worker, ref) do
    send(ref, {ref, nil})
    worker
  end

  def ask_stats(worker, ref), do: call(worker, "stats", nil, {:stats, ref})

  # The counter of ids is the worker's own to use: it drains when its roster has died, too.
  defp call(worker, op, args, what) do
    id = Roster.next_id(worker)
    Worker.command(worker, Protocol.requests([Protocol.plain_call(id, op, args)]))
    %{worker | controls: Map.put(worker.controls, id, what)}
  end

  @doc "The answer to one of these calls."
  @spec answered(Protocol.id(), Protocol.message(), Worker.t()) :: {:ok, Worker.t()} | :unknown_id
  def answered(id, message, worker) do
    case Map.pop(worker.controls, id) do
      {nil, _controls} ->
        :unknown_id

      {what, controls} ->
        {:ok, answer(what, Protocol.decode_reply(message), %{worker | controls: controls})}
    end
  end

  defp answer({:stats, ref}, {:ok, %{"jobs" => jobs} = native, _receipt}, worker) do
    jobs = for job <- jobs, do: running(job)
    send(ref, {ref, %{native: native, jobs: jobs, in_flight: InFlight.size()}})
    worker
  end

  defp answer({:stats, ref}, _refused, worker) do
    send(ref, {ref, nil})
    worker
  end

  defp answer({:take_back, why}, {:ok, ids, _receipt}, worker) when is_list(ids) do
    tickets = for id <- ids, ticket = InFlight.take(id), do: ticket
    # So that what is handed over does not come back.
    :ok = Worker.publish_load(worker)
    :ok = Dispatch.move(tickets, why)

    # An answer has room for so many.
    if tickets == [] or worker.phase == :ready,
      do: worker,
      else: take_back(worker, :all, why)
  end

  defp answer({:take_back, _why}, _refused, worker), do: worker

  defp running(%{"id" => id} = job) do
    caller =
      with {:ok, ticket} <- InFlight.fetch(id), do: ticket.owner, else: (_ -> nil)

    %{id: id, op: job["op"], ran_ms: job["ran_ms"], stuck: job["stuck"], caller: caller}
  end
end
