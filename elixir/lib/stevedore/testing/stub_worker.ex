defmodule Stevedore.Testing.StubWorker do
  @moduledoc false
  # Takes jobs as a worker does, and runs each as a function in a process of its own. It speaks to callers as a worker
  # does: replies are encoded, errors are settled tickets.

  use GenServer

  alias Stevedore.{Error, Protocol, Roster, Telemetry, Ticket}
  alias Stevedore.Testing.NativeTerm

  @enforce_keys [:pool, :ops, :loads, :place]
  defstruct @enforce_keys ++ [jobs: %{}]

  @spec name(atom) :: atom
  def name(pool), do: Module.concat(pool, StubWorker)

  @spec start_link({atom, map}) :: GenServer.on_start()
  def start_link({pool, ops}) do
    GenServer.start_link(__MODULE__, {pool, ops}, name: name(pool))
  end

  @spec add(pid, map) :: :ok
  def add(worker, ops), do: GenServer.call(worker, {:add, ops})

  @spec progress(non_neg_integer, non_neg_integer) :: :ok
  def progress(done, total) when is_integer(done) and is_integer(total) do
    worker =
      Process.get(__MODULE__) || raise "there is progress only in the function of a stubbed op"

    send(worker, {:progress, self(), done, total})
    :ok
  end

  ## Server

  @impl true
  def init({pool, ops}) do
    # Jobs are linked to it: they end with it, and it does not end with them.
    Process.flag(:trap_exit, true)

    facts = %{
      os_pid: nil,
      version: "stub",
      threads: System.schedulers_online(),
      idempotent: MapSet.new()
    }

    {loads, place} = Roster.join(pool, facts)
    {:ok, %__MODULE__{pool: pool, ops: named(ops), loads: loads, place: place}}
  end

  defp named(ops) do
    Map.new(ops, fn {op, fun} when is_function(fun, 1) -> {Protocol.op_name!(op), fun} end)
  end

  @impl true
  def handle_call({:add, ops}, _from, worker) do
    {:reply, :ok, %{worker | ops: Map.merge(worker.ops, named(ops))}}
  end

  @impl true
  def handle_info({:stevedore_call, ticket}, worker) do
    {op, args} = decode(ticket)

    case {NativeTerm.forbidden(args), find(op, worker)} do
      {nil, nil} ->
        refuse(ticket, :unknown_op, "no op of that name: it is not stubbed", worker)

      {nil, fun} ->
        {:noreply, worker |> start(ticket, fun, args) |> count()}

      {what, _fun} ->
        refuse(ticket, :bad_request, "#{what} cannot be sent (PROTOCOL §9.1)", worker)
    end
  end

  def handle_info({:result, pid, result, ran_us}, worker) do
    case Map.pop(worker.jobs, pid) do
      {nil, _jobs} ->
        {:noreply, worker}

      {{ticket, monitor}, jobs} ->
        _ = Process.demonitor(monitor, [:flush])
        :ok = reply(ticket, result, ran_us)
        {:noreply, count(%{worker | jobs: jobs})}
    end
  end

  def handle_info({:progress, pid, done, total}, worker) do
    with %{^pid => {ticket, _monitor}} <- worker.jobs, do: report(ticket, done, total)
    {:noreply, worker}
  end

  def handle_info({:stevedore_cancel, id, ref}, worker) do
    {:noreply, stop(worker, &match?(%Ticket{id: ^id, ref: ^ref}, &1), &cancelled/1)}
  end

  def handle_info({:stevedore_abandon, id, ref}, worker) do
    {:noreply, stop(worker, &match?(%Ticket{id: ^id, ref: ^ref}, &1), fn _ticket -> :ok end)}
  end

  def handle_info({:DOWN, _monitor, :process, owner, _reason}, worker) do
    {:noreply, stop(worker, &(&1.owner == owner), &caller_died/1)}
  end

  # The function was ended from outside: results are messages, which come before.
  def handle_info({:EXIT, pid, reason}, worker) do
    {:noreply, stop(worker, pid, &Ticket.settle(&1, crashed("ended: #{inspect(reason)}")))}
  end

  def handle_info(_other, worker), do: {:noreply, worker}

  ## Jobs

  defp decode(%Ticket{body: {iodata, _size}}), do: decode_body(IO.iodata_to_binary(iodata))
  defp decode(%Ticket{body: body}), do: decode_body(body)

  defp decode_body(body), do: :erlang.binary_to_term(<<131, 104, 2, body::binary>>)

  defp find("ops", worker), do: fn _args -> {:ok, Enum.map(Map.keys(worker.ops), &describe/1)} end
  defp find(op, worker), do: worker.ops[op]

  defp describe(op), do: %{"name" => op, "doc" => "A stub.", "flags" => [], "plugin" => "stub"}

  defp start(worker, ticket, fun, args) do
    parent = self()

    pid =
      spawn_link(fn ->
        Process.put(__MODULE__, parent)
        {us, result} = :timer.tc(fn -> run(fun, args) end)
        send(parent, {:result, self(), result, us})
      end)

    put_in(worker.jobs[pid], {ticket, Process.monitor(ticket.owner)})
  end

  defp run(fun, args) do
    case fun.(args) do
      {:ok, value} -> {:ok, value}
      {:error, %Error{} = error} -> {:error, error}
      other -> {:error, crashed("returned neither {:ok, value} nor an error: #{inspect(other)}")}
    end
  catch
    kind, reason ->
      {:error, crashed("raised: " <> Exception.format(kind, reason, __STACKTRACE__))}
  end

  defp reply(%Ticket{id: id, ref: ref} = ticket, {:ok, value}, ran_us) do
    case NativeTerm.forbidden(value) do
      nil ->
        value = NativeTerm.from_worker(value)
        send(ref, {ref, :erlang.term_to_binary({:ok, id, value, {0, ran_us, 0}})})
        :ok

      what ->
        Ticket.settle(ticket, crashed("returned what no worker can: #{what}"))
    end
  end

  defp reply(ticket, {:error, error}, _ran_us) do
    Ticket.settle(ticket, %{error | worker: error.worker || self()})
  end

  defp refuse(ticket, kind, message, worker) do
    receipt = %{queued_us: 0, ran_us: 0, cpu_us: 0}
    :ok = Ticket.settle(ticket, %Error{kind: kind, message: message, receipt: receipt})
    {:noreply, count(worker)}
  end

  defp crashed(what),
    do: %Error{kind: :crashed, message: "the function that stands in for it #{what}"}

  defp report(%Ticket{on_progress: nil}, _done, _total), do: :ok

  defp report(%Ticket{on_progress: :caller, id: id, ref: ref}, done, total) do
    send(ref, {ref, :erlang.term_to_binary({:progress, id, done, total})})
  end

  defp report(%Ticket{on_progress: pid, ref: ref}, done, total) do
    send(pid, {:stevedore_progress, ref, done, total})
  end

  ## The end of jobs that have no result

  defp stop(worker, pid, settle) when is_pid(pid) do
    case Map.pop(worker.jobs, pid) do
      {nil, _jobs} ->
        worker

      {{ticket, monitor}, jobs} ->
        _ = Process.demonitor(monitor, [:flush])
        true = Process.exit(pid, :kill)
        _ = settle.(ticket)
        count(%{worker | jobs: jobs})
    end
  end

  defp stop(worker, which?, settle) do
    pids = for {pid, {ticket, _monitor}} <- worker.jobs, which?.(ticket), do: pid
    Enum.reduce(pids, worker, &stop(&2, &1, settle))
  end

  defp cancelled(ticket),
    do: Ticket.settle(ticket, %Error{kind: :cancelled, message: "cancelled"})

  defp caller_died(ticket) do
    error = %Error{kind: :cancelled, message: "its caller died", op: ticket.op, pool: ticket.pool}
    Telemetry.job_exception(ticket, %{error | worker: self()})
  end

  defp count(worker) do
    :ok = :atomics.put(worker.loads, worker.place, map_size(worker.jobs))
    worker
  end
end
