if Code.ensure_loaded?(Oban.Worker) do
  defmodule Stevedore.Test.NativeJob do
    @moduledoc false
    # Pool, op, arguments and call options all come with the Oban job.

    use Stevedore.Oban, pool: :named_in_the_job, op: "named_in_the_job", max_attempts: 3

    @impl Stevedore.Oban
    def pool(job), do: String.to_existing_atom(job.args["pool"])

    @impl Stevedore.Oban
    def op(job), do: job.args["op"]

    @impl Stevedore.Oban
    def args(%{args: %{"bytes" => count}}), do: %{data: :binary.copy("secret", div(count, 6))}
    def args(%{args: %{"with_a_pid" => true}}), do: %{pid: self()}
    def args(job), do: job.args["args"]

    @impl Stevedore.Oban
    def call(job) do
      for({key, value} <- job.args["call"] || %{}, do: {String.to_existing_atom(key), value}) ++
        super(job)
    end

    @impl Oban.Worker
    def backoff(_job), do: 1

    @impl Oban.Worker
    def timeout(job), do: job.args["oban_timeout"] || :infinity
  end

  defmodule Stevedore.Test.LedgerJob do
    @moduledoc false
    # The table as it is; only Oban's back-off is shorter than its own.

    use Stevedore.Oban, pool: Stevedore.Test.Pool, op: "ledger.work", queue: :native

    @impl Stevedore.Oban
    def op(job), do: job.args["op"] || super(job)

    @impl Stevedore.Oban
    def args(job), do: Map.take(job.args, ["key", "ms", "fault"])

    @impl Stevedore.Oban
    def call(job), do: if(ms = job.args["timeout"], do: [timeout: ms], else: super(job))

    @impl Oban.Worker
    def backoff(_job), do: 1
  end

  defmodule Stevedore.Test.OnceJob do
    @moduledoc false
    # Must not run twice, whatever happens.

    use Stevedore.Oban,
      pool: Stevedore.Test.Pool,
      op: "ledger.work",
      queue: :native,
      max_attempts: 1,
      call: [idempotent: false],
      outcomes: [lost: :cancel, drained: :cancel]

    @impl Stevedore.Oban
    def args(job), do: Map.take(job.args, ["key", "ms"])
  end
end
