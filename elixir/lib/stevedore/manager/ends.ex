defmodule Stevedore.Manager.Ends do
  @moduledoc false
  # What the end of a worker means for the pool: whether its jobs are settled, what is remembered of its death, and when
  # its slot gets the next one. Functions on the Manager's state, run in its process.
  #
  # A worker that had had a job is replaced at once; one that ended without is the worker program's own fault, and its
  # slot waits (see circuit.ex and docs/decisions/0009).

  require Logger

  alias Stevedore.{Dispatcher, Error, Manager, Telemetry}
  alias Stevedore.Manager.{Circuit, Crew, Inquest, Member, Obituaries, Replacing}

  @doc "The worker is gone, and for what reason: settles what it means for its slot."
  @spec ended(Manager.t(), Member.t(), pid, term) :: Manager.t()
  def ended(manager, member, pid, reason) do
    ending = member.ended || end_without_a_word(reason, Inquest.os_pid(manager.inquest, pid))
    %{cause: cause, text: text, taken: taken} = ending
    planned? = cause == :drained or member.state == :leaving
    manager = if settled?(reason), do: forget(manager, pid), else: bury(manager, pid)

    if member.ended == nil and cause == :worker_process,
      do: tell_stop(manager, member, pid, reason, ending)

    manager = if member.ended, do: manager, else: note_death(manager, pid, ending)
    manager = Replacing.succeed(manager, pid)

    manager =
      cond do
        member.spare -> manager
        # The wounded one's slot has been filled long since.
        planned? or member.state == :wounded -> Crew.ensure_size(manager)
        cause == :boot or taken == 0 -> back_off(manager, member.slot, cause, text)
        true -> start_again(manager, member.slot, cause, text)
      end

    Replacing.ended(manager, pid, member, text, Map.get(ending, :details, %{}))
  end

  defp end_without_a_word({:shutdown, %Error{message: message, details: details}}, os_pid),
    do: :boot |> ending(message, 0, os_pid) |> Map.put(:details, details)

  # It was to go before it was ready.
  defp end_without_a_word({:shutdown, _why}, os_pid),
    do: ending(:drained, "it was not needed any more", 0, os_pid)

  # It was killed with all it knew; that it was of no use cannot be said.
  defp end_without_a_word(reason, os_pid) do
    ending(:worker_process, "its process in the VM ended: #{inspect(reason)}", 1, os_pid)
  end

  defp ending(cause, text, taken, os_pid),
    do: %{cause: cause, text: text, taken: taken, started: [], os_pid: os_pid, crash: nil}

  # A worker that was killed while it settled its jobs had said already that it ends.
  defp settled?({:shutdown, _why}), do: true
  defp settled?(reason), do: reason in [:normal, :shutdown]

  defp bury(manager, pid), do: %{manager | inquest: Inquest.bury(manager.inquest, pid)}

  # It could not tell itself.
  defp tell_stop(manager, member, pid, reason, ending) do
    Telemetry.worker_stop(member.started_at, nil, %{
      pool: manager.options.name,
      worker: pid,
      os_pid: ending.os_pid,
      cause: ending.cause,
      reason: reason,
      crash: nil
    })
  end

  defp forget(manager, pid), do: %{manager | inquest: Inquest.leave(manager.inquest, pid)}

  @doc "Keeps what is known of a death, for `Stevedore.stats/1`."
  @spec note_death(Manager.t(), pid, Member.ending()) :: Manager.t()
  def note_death(manager, _pid, %{cause: :drained}), do: manager

  def note_death(manager, pid, ending) do
    death =
      ending
      |> Map.take([:cause, :text, :os_pid, :crash])
      |> Map.merge(%{at: System.system_time(:millisecond), worker: pid})

    Crew.remember(%{manager | obituaries: Obituaries.add(manager.obituaries, death)})
  end

  defp start_again(manager, slot, cause, text) do
    tell_restart(manager, 0, cause, text)
    Crew.ensure_size(%{manager | circuit: Circuit.died_of_a_job(manager.circuit, slot)})
  end

  defp back_off(%{draining: draining} = manager, _slot, _cause, _text) when draining != nil,
    do: manager

  defp back_off(manager, slot, cause, text) do
    ready? = Enum.any?(manager.members, fn {_pid, member} -> member.state == :ready end)
    now = System.monotonic_time(:millisecond)
    {delay, circuit} = Circuit.ended_idle(manager.circuit, slot, ready?, now)
    tell_restart(manager, delay, cause, text)
    if circuit.state == :open, do: refuse_calls(manager.options.name, delay, text)

    # An own message even if there is no delay, so that callers are not kept waiting by a storm.
    timer = Process.send_after(self(), {:start_worker, slot}, delay)
    Crew.set_circuit(%{manager | pending: Map.put(manager.pending, slot, timer)}, circuit)
  end

  defp refuse_calls(pool, delay, text) do
    message =
      "no worker of #{inspect(pool)} can be kept running (#{text}); the next is tried in #{delay} ms"

    details = %{"retry_after_ms" => delay, "circuit" => "open"}
    Dispatcher.close(pool, {:unavailable, message, details})
  end

  defp tell_restart(manager, delay, cause, text) do
    pool = manager.options.name
    Telemetry.pool_restart(pool, delay, cause)

    Logger.warning(
      "a worker of #{inspect(pool)} ended (#{text}); starting another " <>
        if(delay == 0, do: "at once", else: "in #{delay} ms"),
      stevedore_pool: pool,
      domain: [:stevedore]
    )
  end
end
