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
      :ok = Repo.configure(directory)
      :ok = Ecto.Adapters.Postgres.storage_up(Repo.config())
      {:ok, repo} = Repo.start_link()
      Process.unlink(repo)
      Ecto.Migrator.up(Repo, 1, Stevedore.Test.Migration, log: false)
      check_versions()
    end

    # Between releases, Ecto and Ecto's SQL may differ in what a join is, and the condition of an update is dropped
    # without a word: Oban.cancel_job/1 then cancels all jobs there are.
    defp check_versions do
      import Ecto.Query

      query =
        from(a in Oban.Job, join: b in Oban.Job, on: a.id == b.id, update: [set: [queue: ""]])

      {sql, []} = Ecto.Adapters.SQL.to_sql(:update_all, Repo, query)

      if sql =~ "WHERE",
        do: :ok,
        else: raise("this ecto does not fit this ecto_sql: #{sql} (take releases of both)")
    end
  end

  defmodule Stevedore.Test.Repo do
    @moduledoc false
    use Ecto.Repo, otp_app: :stevedore, adapter: Ecto.Adapters.Postgres

    @doc "Where the database is: Oban's notifier asks for that, too."
    @spec configure(Path.t()) :: :ok
    def configure(directory) do
      Application.put_env(:stevedore, __MODULE__,
        socket_dir: directory,
        username: "postgres",
        database: "stevedore_test",
        pool_size: 20,
        queue_target: 5_000,
        log: false
      )
    end
  end

  defmodule Stevedore.Test.Migration do
    @moduledoc false
    use Ecto.Migration

    def up, do: Oban.Migration.up()
    def down, do: Oban.Migration.down()
  end
end
