if Code.ensure_loaded?(Oban.Worker) do
  defmodule Stevedore.Test.Member do
    @moduledoc false
    # One node of several that work off the same table: a repo, a pool of the ledger's ops and an Oban, and somebody who
    # kills workers of that pool at random. Runs in a node of its own.

    alias Stevedore.Test.{Pool, Repo}

    @doc "Starts a node. No distribution: what nodes have in common is the database."
    @spec start_node() :: pid
    def start_node do
      paths = Enum.flat_map(:code.get_path(), &[~c"-pa", &1])

      {:ok, peer, _node} =
        :peer.start_link(%{connection: :standard_io, args: paths, wait_boot: 60_000})

      peer
    end

    @doc "Starts all that in it."
    @spec join(pid, keyword) :: :ok
    def join(peer, options), do: :peer.call(peer, __MODULE__, :start, [options], 60_000)

    @doc "Ends the killing; returns how many workers were killed."
    @spec spare(pid) :: non_neg_integer
    def spare(peer), do: :peer.call(peer, __MODULE__, :stop_killing, [], 60_000)

    @doc false
    def start(options) do
      {:ok, _apps} = Application.ensure_all_started([:stevedore, :oban, :ecto_sql, :postgrex])
      Logger.configure(level: :critical)
      :ok = Repo.configure(options[:directory])
      starter = self()
      {pid, monitor} = spawn_monitor(fn -> stay(starter, options) end)

      receive do
        {:joined, ^pid} -> Process.demonitor(monitor, [:flush]) && :ok
        {:DOWN, ^monitor, :process, _pid, reason} -> exit(reason)
      end
    end

    defp stay(starter, options) do
      {:ok, _tree} =
        Supervisor.start_link(children(options), strategy: :one_for_one)

      send(starter, {:joined, self()})
      Process.register(self(), __MODULE__)
      _seed = :rand.seed(:exsss, options[:seed])
      kill_at_random(options[:every], 0)
    end

    defp children(options) do
      [
        Repo,
        {Stevedore,
         name: Pool,
         workers: 2,
         threads: 4,
         plugins: [options[:plugin]],
         executable: options[:executable],
         env: [{"STEVEDORE_LEDGER", options[:ledger]}],
         backoff_min: 1,
         backoff_max: 50},
        {Oban,
         name: Stevedore.Test.MemberOban,
         node: options[:name],
         repo: Repo,
         queues: [native: 8],
         stage_interval: 200}
      ]
    end

    defp kill_at_random(every, killed) do
      receive do
        {:spare, from} ->
          send(from, {:killed, killed})
          Process.sleep(:infinity)
      after
        :rand.uniform(2 * every) -> kill_at_random(every, killed + kill_one())
      end
    end

    # It may be gone already.
    defp kill_one do
      case Stevedore.info(Pool).workers do
        [] ->
          0

        workers ->
          {_output, status} =
            System.cmd("kill", ["-KILL", "#{Enum.random(workers).os_pid}"],
              stderr_to_stdout: true
            )

          if status == 0, do: 1, else: 0
      end
    end

    @doc false
    def stop_killing do
      send(__MODULE__, {:spare, self()})

      receive do
        {:killed, count} -> count
      end
    end
  end
end
