defmodule Bench.Soak do
  @moduledoc """
  Many different echoes from many processes, each compared with what was sent, and what is left behind
  when all is done: processes, memory of the BEAM, memory of the workers.
  """

  @callers 128
  @calls 100_000

  @type outcome :: %{
          subject: Bench.Subject.key(),
          calls: non_neg_integer,
          wrong: non_neg_integer,
          lost: non_neg_integer,
          before: map,
          after: map
        }

  @spec run(Bench.Subject.t()) :: outcome
  def run(subject) do
    # Allocators grow at first whatever comes; that is no leak.
    _warm_up = calls(subject, div(@calls, 10))
    before = left_behind(subject)
    results = calls(subject, @calls)

    %{
      subject: subject.key,
      calls: length(results),
      wrong: Enum.count(results, &(&1 == :wrong)),
      lost: Enum.count(results, &(&1 == :lost)),
      before: before,
      after: left_behind(subject)
    }
  end

  @doc "Every call came back with what was sent, and no process is left over."
  @spec good?(outcome) :: boolean
  def good?(outcome) do
    outcome.wrong == 0 and outcome.lost == 0 and
      outcome.before.processes == outcome.after.processes
  end

  defp calls(subject, count) do
    1..@callers
    |> Enum.map(&Task.async(fn -> for n <- &1..count//@callers, do: call(subject, n) end))
    |> Task.await_many(:infinity)
    |> Enum.concat()
  end

  defp call(subject, n) do
    payload = %{"n" => n, "text" => Integer.to_string(n), "data" => <<n::512>>}

    case subject.echo.(payload) do
      {:ok, ^payload} -> :right
      {:ok, _other} -> :wrong
      {:error, _error} -> :lost
    end
  end

  defp left_behind(subject) do
    Enum.each(Process.list(), &:erlang.garbage_collect/1)

    %{
      processes: length(Process.list()),
      beam_bytes: :erlang.memory(:total),
      worker_kib: Enum.sum_by(subject.os_pids.(), &resident_kib/1)
    }
  end

  defp resident_kib(os_pid) do
    {output, 0} = System.cmd("ps", ["-o", "rss=", "-p", "#{os_pid}"])
    output |> String.trim() |> String.to_integer()
  end
end
