defmodule Bench.Restart do
  @moduledoc """
  How long it takes from nothing to the first reply, and from the death of a worker to the next good
  reply. A subject of its own for each sample: a pool that is hurt again and again would back off.
  """

  alias Bench.{Killer, Statistics}

  @type outcome :: %{
          subject: Bench.Subject.key(),
          first_reply_ms: float,
          after_kill_ms: float
        }

  @spec run([Bench.Subject.t()], pos_integer) :: [outcome]
  def run(subjects, samples) do
    killer = Killer.start()
    times = for _n <- 1..samples, subject <- subjects, do: sample(subject, killer)
    Killer.stop(killer)

    for subject <- subjects do
      own = for {key, first, next} <- times, key == subject.key, do: {first, next}
      {first, next} = Enum.unzip(own)

      %{
        subject: subject.key,
        first_reply_ms: Statistics.median(first),
        after_kill_ms: Statistics.median(next)
      }
    end
  end

  defp sample(subject, killer) do
    {first, supervisor} = timed(fn -> start(subject) end)
    owner = subject.owner.()
    monitor = Process.monitor(owner)
    [os_pid | _] = subject.os_pids.()
    {next, :ok} = timed(fn -> kill(subject, killer, os_pid, monitor) end)
    stop(supervisor)
    {subject.key, first, next}
  end

  defp start(subject) do
    supervisor = subject.start.()
    {:ok, "first"} = subject.echo.("first")
    supervisor
  end

  # Until its owner knows, a reply may still be one of the dead.
  defp kill(subject, killer, os_pid, monitor) do
    Killer.kill(killer, os_pid)

    receive do
      {:DOWN, ^monitor, :process, _pid, _reason} -> next_reply(subject)
    end
  end

  defp next_reply(subject) do
    case echo(subject) do
      {:ok, "next"} -> :ok
      _not_yet -> next_reply(subject)
    end
  end

  # There may be nobody of that name at the moment.
  defp echo(subject) do
    subject.echo.("next")
  catch
    _kind, _reason -> :again
  end

  defp stop(supervisor) do
    Process.unlink(supervisor)
    Supervisor.stop(supervisor)
  end

  defp timed(fun) do
    {us, value} = :timer.tc(fun)
    {us / 1000, value}
  end
end
