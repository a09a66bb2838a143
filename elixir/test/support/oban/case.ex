if Code.ensure_loaded?(Oban.Worker) do
  defmodule Stevedore.ObanCase do
    @moduledoc false
    # Tests against a real Oban on a real PostgreSQL. Each Oban has tables of its own, or one would make another's jobs
    # available without telling it.

    use ExUnit.CaseTemplate

    import Stevedore.PoolCase

    alias Stevedore.Test.{Postgres, Repo}

    using do
      quote do
        import Stevedore.PoolCase
        import Stevedore.ObanCase
        alias Stevedore.Test.Repo
        @moduletag :oban
      end
    end

    setup_all do
      Postgres.ensure_started()
      :ok
    end

    # Their notifier is the local one, but where a test is about the way through the database: when many start at the
    # same time, a NOTIFY that arrives with the answer to a LISTEN makes Postgrex.SimpleConnection (0.22) wait for ever for
    # what it has already.
    @doc "Starts an Oban with one queue; returns its name, which is the queue's too."
    def start_oban!(options \\ []) do
      name = Module.concat(Stevedore.Test, "Oban#{System.unique_integer([:positive])}")

      options =
        Keyword.merge(
          [
            name: name,
            repo: Repo,
            prefix: options[:prefix] || create_tables!(),
            notifier: Oban.Notifiers.Isolated,
            peer: Oban.Peers.Isolated,
            queues: [{name, options[:limit] || 10}],
            stage_interval: 50,
            shutdown_grace_period: 1_000
          ],
          Keyword.delete(options, :limit)
        )

      start_supervised!({Oban, options}, id: name)
      await_notifier(name)
      name
    end

    # The same tables in another schema; ids are unique among all of them.
    defp create_tables! do
      schema = "oban_#{System.unique_integer([:positive])}"
      Repo.query!("create schema #{schema}")

      for table <- ~w(oban_jobs oban_peers) do
        Repo.query!("create table #{schema}.#{table} (like public.#{table} including all)")
      end

      schema
    end

    # Whoever cancels a job earlier than this is heard by nobody: that is Oban's own.
    defp await_notifier(oban) do
      :ok = Oban.Notifier.listen(oban, [:stevedore_test])
      nonce = inspect(make_ref())

      eventually(fn ->
        :ok = Oban.Notifier.notify(oban, :stevedore_test, %{nonce: nonce})

        receive do
          {:notification, :stevedore_test, %{"nonce" => ^nonce}} -> true
        after
          50 -> false
        end
      end)

      :ok = Oban.Notifier.unlisten(oban, [:stevedore_test])
    end

    @doc "Inserts a job for that Oban."
    def insert!(oban, worker, args, options \\ []) do
      Oban.insert!(oban, worker.new(args, [queue: oban] ++ options))
    end

    @doc "The row, as soon as it is in that state."
    def await_state(job, state) do
      eventually(fn ->
        job = Repo.reload(job)
        if job.state == state, do: job
      end)
    end

    @doc "The row, as soon as Oban has given this attempt up, whatever came of it."
    def await_end(job) do
      eventually(fn ->
        job = Repo.reload(job)
        if job.state != "executing" and job.attempted_at, do: job
      end)
    end

    @doc "Waits until the pool runs so many jobs; returns their native ids."
    def await_running(pool, count) do
      eventually(fn ->
        ids = running(pool)
        if length(ids) == count, do: ids
      end)
    end

    @doc "Sends this process these events of Oban and of this library that are about that Oban."
    def forward_oban_events(oban, events) do
      id = make_ref()
      config = {oban, self()}
      :ok = :telemetry.attach_many(id, events, &__MODULE__.forward_oban_event/4, config)
      ExUnit.Callbacks.on_exit(fn -> :telemetry.detach(id) end)
    end

    def forward_oban_event(event, measurements, metadata, {oban, test}) do
      if metadata[:oban_name] == oban or match?(%{conf: %{name: ^oban}}, metadata),
        do: send(test, {:event, event, measurements, metadata})
    end

    @doc "A pool with the ops of tests/plugins/ledger.c, and the file that they write into."
    def start_ledger_pool!(options \\ []) do
      ledger =
        Path.join(System.tmp_dir!(), "stevedore-ledger-#{System.unique_integer([:positive])}")

      ledger = ledger <> "-#{System.pid()}"
      File.write!(ledger, "")
      ExUnit.Callbacks.on_exit(fn -> File.rm(ledger) end)
      env = [{"STEVEDORE_LEDGER", ledger}]
      {start_pool!([plugins: [ledger_plugin()], env: env] ++ options), ledger}
    end

    def ledger_plugin do
      default = Path.expand("../../../../build/tests/plugins", __DIR__)
      Path.join(System.get_env("STEVEDORE_PLUGINS", default), "ledger.so")
    end

    @doc "What the ops have written: `{:start | :end, key, how, ns}`, `ns` as `:os.perf_counter(:nanosecond)`."
    def read_ledger(path) do
      for line <- path |> File.read!() |> String.split("\n", trim: true) do
        case String.split(line, " ") do
          ["start", key, _pid, _tid, at] -> {:start, key, nil, String.to_integer(at)}
          ["end", key, _pid, _tid, at, how] -> {:end, key, how, String.to_integer(at)}
        end
      end
    end
  end
end
