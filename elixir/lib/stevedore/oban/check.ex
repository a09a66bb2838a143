if Code.ensure_loaded?(Oban.Worker) do
  defmodule Stevedore.Oban.Check do
    @moduledoc false
    # Whether queues, pools and times fit each other: what can be seen of a running Oban and its pools.

    alias Stevedore.{Oban.Settings, Roster}

    @doc "What does not fit, as sentences for people."
    @spec problems([module], Oban.name()) :: [String.t()]
    def problems(workers, oban) do
      grace = Oban.config(oban).shutdown_grace_period

      workers
      |> Enum.map(&{pool(&1), queue(&1)})
      |> Enum.uniq()
      |> Enum.group_by(&elem(&1, 0), &elem(&1, 1))
      |> Enum.flat_map(fn {pool, queues} ->
        problems(pool, Roster.lookup(pool), limits(queues, oban), grace)
      end)
    end

    defp pool(worker) do
      %Settings{pool: pool} = worker.__stevedore__()
      pool
    end

    defp queue(worker), do: worker.__opts__() |> Keyword.get(:queue, :default) |> to_string()

    # Of those that run on this node.
    defp limits(queues, oban) do
      for queue <- queues,
          %{limit: limit} <- [Oban.check_queue(oban, queue: queue)],
          do: {queue, limit}
    end

    defp problems(_pool, _roster, [], _grace), do: []

    defp problems(pool, :error, [{queue, _limit} | _], _grace) do
      [
        "queue #{queue} runs, but pool #{inspect(pool)} does not: put it before Oban in the list of children"
      ]
    end

    defp problems(pool, {:ok, {ready, _quarantined}, settings}, limits, grace) do
      threads = Enum.sum_by(ready, fn {_pid, _place, threads} -> threads end)

      too_many(pool, threads, limits, Enum.sum_by(limits, &elem(&1, 1))) ++
        too_long(pool, settings.drain_timeout, grace)
    end

    defp too_many(pool, threads, limits, sum) when sum > threads do
      queues = Enum.map_join(limits, " and ", fn {queue, limit} -> "#{queue} (#{limit})" end)

      [
        "queue #{queues} may run #{sum} jobs at once, pool #{inspect(pool)} has #{threads} threads: the others wait there, " <>
          "and their wait counts for queue_timeout and timeout/1. Lower the queue's limit, or raise :workers or :threads"
      ]
    end

    defp too_many(_pool, _threads, _limits, _sum), do: []

    defp too_long(pool, drain, grace) when drain >= grace do
      [
        "pool #{inspect(pool)} has a drain_timeout of #{drain} ms, Oban a shutdown_grace_period of #{grace} ms: the first " <>
          "should be the shorter one, or Oban gives up jobs that the pool would still let finish"
      ]
    end

    defp too_long(_pool, _drain, _grace), do: []
  end
end
