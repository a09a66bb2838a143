if Code.ensure_loaded?(Phoenix.LiveDashboard.PageBuilder) do
  defmodule Stevedore.LiveDashboard.Snapshot do
    @moduledoc false
    # What the page shows: the pools of one node, asked at the same time. The node needs Stevedore, and nothing of
    # LiveDashboard: only functions of the core are called there.

    alias Stevedore.Worker.Host

    # ms. A pool takes a second at the most (stats.ex).
    @answer_within 5_000

    @doc """
    The condition of each pool of a node as `Stevedore.stats/1` has it, by name, and the resident memory of each worker
    as `rss`, in bytes (`nil` where the system does not tell). Beside it what could not be learned, in words.
    """
    @spec take(node) :: {[map], [String.t()]}
    def take(node) do
      case call(node, Stevedore, :pools, []) do
        {:ok, names} -> take(node, names)
        {:error, text} -> {[], [text]}
      end
    end

    defp take(node, names) do
      asked = for name <- Enum.sort(names), do: {name, request(node, Stevedore, :stats, [name])}
      answers = for {name, request} <- asked, do: response(request, "#{inspect(name)} on #{node}")
      # What has no stats has ended meanwhile.
      pools = for {:ok, {:ok, stats}} <- answers, do: stats
      {with_memory(pools, node), for({:error, text} <- answers, do: text)}
    end

    @doc "Lifts the quarantine of one job."
    @spec release(node, Stevedore.pool(), binary) :: {:ok, :ok} | {:error, String.t()}
    def release(node, pool, fingerprint) do
      call(node, Stevedore, :release, [pool, fingerprint])
    end

    defp with_memory(pools, node) do
      os_pids = for pool <- pools, %{os_pid: os_pid} <- pool.workers, os_pid, do: os_pid

      rss =
        case call(node, Enum, :map, [os_pids, &Host.rss/1]) do
          {:ok, bytes} -> Map.new(Enum.zip(os_pids, bytes))
          {:error, _text} -> %{}
        end

      for pool <- pools, do: Map.update!(pool, :workers, &add_memory(&1, rss))
    end

    defp add_memory(workers, rss) do
      for worker <- workers, do: Map.put(worker, :rss, rss[worker.os_pid])
    end

    defp call(node, module, function, args) do
      node |> request(module, function, args) |> response(Atom.to_string(node))
    end

    defp request(node, module, function, args) do
      :erpc.send_request(node, module, function, args)
    end

    defp response(request, who) do
      {:ok, :erpc.receive_response(request, @answer_within)}
    catch
      kind, reason -> {:error, failure(who, kind, reason)}
    end

    defp failure(who, :error, {:erpc, :timeout}),
      do: "#{who} has not answered within #{@answer_within} ms."

    defp failure(who, :error, {:erpc, reason}), do: "#{who} cannot be asked: #{reason}."

    defp failure(who, :error, {:exception, :undef, _stack}),
      do: "#{who} has another version of Stevedore, or none: deploy this one there."

    defp failure(who, kind, reason),
      do: "#{who} cannot be asked: #{Exception.format_banner(kind, reason)}"
  end
end
