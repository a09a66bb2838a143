defmodule Chaos.Disturber do
  @moduledoc """
  A process that does something bad to the pool every now and then: to the OS processes of its workers,
  to the Elixir processes in front of them, to callers; and what is not bad but moves jobs about.
  """

  import Chaos.Random

  alias Chaos.{Book, Host, Signals}

  @acts [
    {4, :kill},
    {2, :stop_and_go_on},
    {1, :stop},
    {2, :kill_genserver},
    {3, :kill_caller},
    {1, :restart},
    {1, :resize}
  ]

  @doc "`round`: as for callers, and `executable`, `every_ms`, `workers`."
  @spec start(map) :: {pid, reference}
  def start(round) do
    spawn_monitor(fn ->
      seed(round.seed, -1)
      signals = Signals.start()
      go_on(Map.put(round, :signals, signals))
      Signals.stop(signals)
    end)
  end

  defp go_on(round) do
    Process.sleep(between(1, 2 * round.every_ms))

    if System.monotonic_time(:millisecond) < round.until do
      act(weighted(@acts), round)
      go_on(round)
    end
  end

  defp act(:kill, round), do: signal(round, worker(round), :KILL)
  defp act(:stop, round), do: signal(round, worker(round), :STOP)

  defp act(:stop_and_go_on, round) do
    worker = worker(round)
    signal(round, worker, :STOP)
    Process.sleep(between(1, 500))
    signal(round, worker, :CONT)
  end

  defp act(:kill_genserver, round) do
    with %{pid: pid, os_pid: os_pid} <- worker(round) do
      Book.disturbed(round.book, os_pid, :kill_genserver)
      Process.exit(pid, :kill)
    end
  end

  defp act(:kill_caller, round) do
    with [_ | _] = callers <- Enum.filter(Book.callers(round.book), &Process.alive?(elem(&1, 0))) do
      {pid, index} = pick(callers)
      Book.killed(round.book, index)
      Process.exit(pid, :kill)
    end
  end

  # Nothing is lost by these: the workers that leave are not noted as disturbed.
  defp act(:restart, round), do: planned(round, :restart, &Stevedore.restart(&1, []))

  defp act(:resize, round) do
    planned(round, :resize, &Stevedore.resize(&1, between(1, round.workers + 1)))
    planned(round, :resize, &Stevedore.resize(&1, round.workers))
  end

  defp planned(round, what, fun) do
    Book.disturbed(round.book, nil, what)

    with {:error, error} <- fun.(round.pool) do
      Book.note(round.book, "#{what} did not succeed: #{inspect(error)}")
    end
  end

  defp worker(round) do
    case Stevedore.info(round.pool).workers do
      [] -> nil
      workers -> pick(workers)
    end
  end

  # Its number may be another process's by now.
  defp signal(_round, nil, _signal), do: :ok

  defp signal(round, %{os_pid: os_pid}, signal) do
    if Host.worker?(os_pid, round.executable) do
      Book.disturbed(round.book, os_pid, signal)
      Signals.send(round.signals, os_pid, signal)
    end
  end
end
