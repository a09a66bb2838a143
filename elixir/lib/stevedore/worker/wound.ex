defmodule Stevedore.Worker.Wound do
  @moduledoc false
  # A job that will not stop. Its caller has waited long enough and gets its error now. The thread is lost, and with
  # it the process, but not the other jobs: what has not started moves, what runs may finish, and another worker
  # serves before this one is killed. Runs in the worker's process.

  alias Stevedore.{Dispatcher, Error, Manager, Roster, Telemetry, Ticket, Worker}
  alias Stevedore.Worker.{Controls, InFlight}

  # Where a thread waits is nearly always in one of these: what called them says more.
  @runtimes ~r/(^|\()(libc|libpthread|ld-|libuv)/

  @doc "The process says that it is so (PROTOCOL §5.6)."
  @spec receive_stuck(Ticket.t(), non_neg_integer, [String.t()], Worker.t()) :: Worker.t()
  def receive_stuck(ticket, ran_us, stack, worker) do
    # Who hears of its end finds it quarantined, if it was one time too many.
    Dispatcher.note_death(worker.pool, ticket)
    :ok = Ticket.settle(ticket, error(ticket, ran_us, stack))
    :ok = InFlight.abandon(ticket)
    leave(%{worker | stuck: MapSet.put(worker.stuck, ticket.id)})
  end

  defp leave(%{phase: :ready} = worker) do
    :ok = Roster.leave(worker.pool, self())
    if worker.alone == nil, do: Manager.wounded(worker.pool, self())
    Telemetry.worker_wounded(Worker.metadata(worker), InFlight.size())
    _timer = Process.send_after(self(), :wounded_long_enough, worker.options.drain_timeout)
    Controls.take_back(%{worker | phase: :wounded, load: nil}, :all, :wounded)
  end

  defp leave(worker), do: worker

  @doc "Whether nothing else runs in it any more."
  @spec alone?(Worker.t()) :: boolean
  def alone?(worker), do: Enum.all?(InFlight.tickets(), &(&1.id in worker.stuck))

  defp error(%Ticket{cancelled: cancelled} = ticket, ran_us, stack) do
    {kind, why} = if cancelled, do: {:cancelled, "cancelled"}, else: {:timed_out, "out of time"}
    waited = 1_000 * Ticket.waited_ms(ticket, System.monotonic_time())

    %Error{
      kind: kind,
      message:
        "#{why}, but would not stop within kill_after; its worker will be killed#{at(stack)}",
      worker: self(),
      receipt: %{queued_us: max(0, waited - ran_us), ran_us: ran_us, cpu_us: 0},
      details: %{"clock" => "kill_after", "stack" => stack}
    }
  end

  defp at(stack) do
    case Enum.reject(stack, &(&1 =~ @runtimes)) do
      [] -> ""
      frames -> "; it is in #{frames |> Enum.take(3) |> Enum.join(" < ")}"
    end
  end
end
