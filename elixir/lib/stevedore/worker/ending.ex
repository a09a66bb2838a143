defmodule Stevedore.Worker.Ending do
  @moduledoc false
  # How a worker ends, and what becomes of its jobs. Runs in the worker's process, in its terminate/2.
  #
  # Two ways: it drains (its process is asked to end, and everything goes on as usual until it has), or its
  # process is dead, or killed here. Afterwards each job that is still in flight is settled by the
  # evidence (settlement.ex), so that every ticket has left this process when it is gone.

  alias Stevedore.{
    BlackBox,
    Dispatch,
    Dispatcher,
    Manager,
    Protocol,
    Roster,
    Search,
    Telemetry,
    Ticket
  }

  alias Stevedore.Manager.Obituaries
  alias Stevedore.Worker
  alias Stevedore.Worker.{Controls, Host, InFlight, Settlement}

  # Beyond the half second in which a worker ends by itself what did not stop (PROTOCOL §4.3).
  @end_grace 1_500

  # From SIGKILL to the end of the process.
  @kill_grace 1_000

  @doc "How long it may all take: for the supervisor."
  @spec shutdown_ms(map) :: pos_integer
  def shutdown_ms(options), do: options.drain_timeout + 2 * @end_grace

  @doc "What has to be known before the end: called once, when the process has said hello."
  @spec prepare(Worker.t()) :: Worker.t()
  def prepare(worker) do
    cgroup = Host.cgroup(worker.os_pid)

    %{
      worker
      | black_box: open_black_box(worker.black_box_path),
        stdin: Host.hold_stdin(worker.os_pid),
        cgroup: cgroup,
        oom_kills: Host.oom_kills(cgroup)
    }
  end

  # Only this process can read through it; it keeps the file alive when its name is gone.
  defp open_black_box(path) do
    case :file.open(path, [:read, :raw, :binary]) do
      {:ok, file} -> file
      {:error, _reason} -> nil
    end
  end

  @spec terminate(term, Worker.t(), fun) :: :ok
  def terminate(reason, worker, handle_info) do
    :ok = if worker.load, do: Roster.leave(worker.pool, self()), else: :ok
    {cause, worker} = finish(reason, %{worker | load: nil}, handle_info)

    # What can go on elsewhere does so at once; the rest takes a look at the system.
    :ok = move_waiting()
    box = read_black_box(worker.black_box)
    {unstarted, started} = Settlement.split(InFlight.tickets(), box)
    :ok = Dispatch.move(unstarted, :worker_died)
    facts = facts(cause, box, worker)

    # In this order: whoever hears of a job's end finds the pool's counters right.
    tell_manager(facts, started, worker)
    settle(started, facts, worker)
    report(facts, worker)
    # For a crash report shows the process dictionary.
    :ok = InFlight.clear()
    :ok = move_waiting()
    pass_on_waiting(worker.pool)
  end

  defp cause({:shutdown, {:died, cause}}), do: cause
  defp cause({:shutdown, {:planned, _why} = cause}), do: cause
  defp cause(reason) when reason in [:normal, :shutdown], do: {:planned, :drain_timeout}
  defp cause({:shutdown, _why}), do: {:planned, :drain_timeout}
  # A bug in this library: the process is killed for it.
  defp cause(reason), do: {:planned, reason}

  ## Until the process is gone

  defp finish(reason, %{phase: phase} = worker, handle_info)
       when phase in [:ready, :wounded] and
              reason in [:normal, :shutdown, {:shutdown, :retired}, {:shutdown, :done}] do
    grace = worker.options.drain_timeout
    Telemetry.worker_draining(Worker.metadata(worker), InFlight.size())
    worker = Controls.take_back(%{worker | phase: :draining}, :all, :draining)
    Worker.command(worker, Protocol.stop(grace))
    await_end(worker, now() + grace + @end_grace, handle_info)
  end

  # After what is wrong in a stream nothing can be trusted (PROTOCOL §8).
  defp finish({:shutdown, {:died, _cause}} = reason, worker, _handle_info),
    do: {cause(reason), kill(worker)}

  # An answer to hello must not make it ready now.
  defp finish(reason, %{phase: :booting} = worker, _handle_info),
    do: {cause(reason), kill(worker)}

  defp finish(reason, worker, handle_info),
    do: {cause(reason), worker |> kill() |> read_the_rest(handle_info)}

  # Replies find their callers, what has been taken back moves on, new calls too. It may still die of something.
  defp await_end(worker, deadline, handle_info) do
    receive do
      message ->
        case handle_info.(message, worker) do
          {:noreply, worker} -> await_end(worker, deadline, handle_info)
          {:stop, {:shutdown, {:died, {:port_exited, _} = cause}}, worker} -> {cause, worker}
          {:stop, reason, worker} -> {cause(reason), kill(worker)}
        end
    after
      max(0, deadline - now()) ->
        {{:planned, :drain_timeout}, worker |> kill() |> read_the_rest(handle_info)}
    end
  end

  # Closing a port kills nothing. The OS process leads its own process group, and its id is certain to
  # be its own only while the port is open.
  defp kill(%{port: port} = worker) do
    if Port.info(port) do
      :ok = Host.kill(worker.os_pid)
      await_death(port)
    end

    worker
  end

  # When a worker has terminated its process is gone, not just going.
  defp await_death(port) do
    receive do
      {^port, {:exit_status, _status}} -> true
      {:EXIT, ^port, _reason} -> true
    after
      @kill_grace -> Port.close(port)
    end
  rescue
    ArgumentError -> true
  end

  # What the process had said before it died still counts.
  defp read_the_rest(%{port: port} = worker, handle_info) do
    receive do
      {^port, {:data, _frame}} = message ->
        case handle_info.(message, worker) do
          {:noreply, worker} -> read_the_rest(worker, handle_info)
          {:stop, _reason, worker} -> worker
        end
    after
      0 -> worker
    end
  end

  ## Settling

  defp facts(cause, box, worker) do
    %{cause: cause, alone: worker.alone != nil, oom: oom?(cause, worker), box: box}
  end

  defp oom?({:port_exited, status}, %{oom_kills: before} = worker) when status == 128 + 9 do
    before != nil and Host.oom_kills(worker.cgroup) > before
  end

  defp oom?(_cause, _worker), do: false

  defp read_black_box(nil), do: nil

  defp read_black_box(file) do
    case BlackBox.read(file) do
      {:ok, box} -> box
      {:error, _reason} -> nil
    end
  end

  defp settle(started, facts, worker) do
    sorted = Settlement.sort(started, facts)
    Enum.each(sorted.culprits, &settle_culprit(&1, worker))
    Enum.each(sorted.victims, &settle_victim(&1, worker))
    Enum.each(sorted.suspects, &settle_suspect(&1, worker))
  end

  defp settle_culprit({ticket, error}, worker) do
    Dispatcher.note_death(worker.pool, ticket)
    lost(ticket, error, :culprit)
  end

  defp settle_victim({ticket, error}, worker) do
    if may_run_again?(ticket, worker),
      do: Dispatch.move([Ticket.again(ticket)], :run_again),
      else: lost(ticket, error, :victim)
  end

  defp settle_suspect({ticket, error}, worker) do
    if may_run_again?(ticket, worker),
      do: Dispatcher.isolate(worker.pool, Ticket.again(ticket)),
      else: lost(ticket, error, :suspect)
  end

  # It has had its end: its caller has died, or it was stuck.
  defp lost(%Ticket{owner: nil} = ticket, _error, _role), do: Ticket.forget(ticket)

  defp lost(ticket, error, role) do
    error = %{error | worker: self(), op: ticket.op, pool: ticket.pool}
    Telemetry.job_settled(ticket, error, role)
    Ticket.settle(ticket, error)
  end

  defp may_run_again?(%Ticket{owner: nil}, _worker), do: false
  defp may_run_again?(%Ticket{cancelled: true}, _worker), do: false
  defp may_run_again?(%Ticket{reruns: reruns}, _worker) when reruns > 0, do: false
  defp may_run_again?(%Ticket{idempotent: nil, op: op}, worker), do: op in worker.idempotent
  defp may_run_again?(%Ticket{idempotent: idempotent}, _worker), do: idempotent

  # What is still in the mailbox never got to the port.
  defp move_waiting do
    receive do
      {:stevedore_call, ticket} ->
        :ok = Dispatch.move([ticket], :worker_died)
        move_waiting()
    after
      0 -> :ok
    end
  end

  # Only now that no job is here any more is it known where they are.
  defp pass_on_waiting(pool) do
    receive do
      {what, _id, _ref} = message when what in [:stevedore_cancel, :stevedore_abandon] ->
        :ok = Search.pass_on(pool, message, fn _message -> :ok end)
        pass_on_waiting(pool)
    after
      0 -> :ok
    end
  end

  # A failed start says more by its reason.
  defp tell_manager(_facts, _started, %{phase: :booting}), do: :ok

  defp tell_manager(facts, started, worker) do
    cause = word(worker, facts)

    Manager.worker_ended(worker.pool, %{
      cause: cause,
      text: describe(cause, facts),
      taken: InFlight.taken(),
      started: Enum.map(started, & &1.id),
      os_pid: worker.os_pid,
      crash: Obituaries.crash(facts.box && facts.box.crash)
    })
  end

  defp report(facts, worker) do
    _ = File.rm(worker.black_box_path)

    Telemetry.worker_stop(
      worker.started_at,
      InFlight.size(),
      Map.merge(Worker.metadata(worker), %{
        cause: word(worker, facts),
        reason: facts.cause,
        crash: facts.box && facts.box.crash
      })
    )
  end

  defp word(%{phase: :booting}, _facts), do: :boot

  defp word(worker, facts) do
    orderly? = worker.phase == :draining and InFlight.size() == 0
    if orderly?, do: :drained, else: Settlement.cause(facts)
  end

  defp describe(:drained, _facts), do: "drained"
  defp describe(_cause, %{box: %{crash: %{} = crash}}), do: BlackBox.describe(crash)
  defp describe(_cause, facts), do: Settlement.describe(facts)

  defp now, do: System.monotonic_time(:millisecond)
end
