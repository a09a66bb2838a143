if Code.ensure_loaded?(Oban.Worker) do
  defmodule Stevedore.Test.Postgres do
    @moduledoc false
    # One real PostgreSQL for all tests that want one, started by the first of them. It ends with this VM.

    alias Stevedore.Test.Repo

    @script Path.expand("postgres.sh", __DIR__)

    @doc "The directory of its socket."
    @spec ensure_started() :: Path.t()
    def ensure_started do
      :global.trans({__MODULE__, self()}, fn ->
        :persistent_term.get(__MODULE__, nil) || start()
      end)
    end

    defp start do
      caller = self()
      {_pid, monitor} = spawn_monitor(fn -> own(caller) end)

      receive do
        {:ready, directory} ->
          Process.demonitor(monitor, [:flush])
          :ok = prepare(directory)
          :persistent_term.put(__MODULE__, directory)
          directory

        {:DOWN, ^monitor, :process, _pid, reason} ->
          raise "PostgreSQL did not start: #{inspect(reason)}"
      end
    end

    # Closing the port, which happens with this process, closes the script's stdin.
    defp own(caller) do
      options = [:binary, :exit_status, line: 4_096]
      own(Port.open({:spawn_executable, @script}, options), caller)
    end

    defp own(port, caller) do
      receive do
        {^port, {:data, {:eol, "ready " <> directory}}} ->
          send(caller, {:ready, directory})
          own(port, caller)

        {^port, {:exit_status, status}} ->
          exit({:postgres, status})

        _other ->
          own(port, caller)
      end
    end

    defp prepare(directory) do
      :ok = Ecto.Adapters.Postgres.storage_up(Repo.options(directory))
      {:ok, repo} = Repo.start_link(Repo.options(directory))
      Process.unlink(repo)
      Ecto.Migrator.up(Repo, 1, Stevedore.Test.Migration, log: false)
      :ok
    end
  end

  defmodule Stevedore.Test.Repo do
    @moduledoc false
    use Ecto.Repo, otp_app: :stevedore, adapter: Ecto.Adapters.Postgres

    def options(directory, more \\ []) do
      [
        socket_dir: directory,
        username: "postgres",
        database: "stevedore_test",
        pool_size: 20,
        queue_target: 5_000,
        log: false
      ] ++ more
    end
  end

  defmodule Stevedore.Test.Migration do
    @moduledoc false
    use Ecto.Migration

    def up, do: Oban.Migration.up()
    def down, do: Oban.Migration.down()
  end
end
