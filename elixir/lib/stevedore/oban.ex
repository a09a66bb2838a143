if Code.ensure_loaded?(Oban.Worker) do
  defmodule Stevedore.Oban do
    @moduledoc """
    An Oban worker whose work is a native job.

        defmodule MyApp.Compress do
          use Stevedore.Oban, pool: MyApp.Native, op: "zstd.compress", queue: :native, max_attempts: 5

          @impl Stevedore.Oban
          def args(%Oban.Job{args: %{"from" => from}}), do: %{path: from, to: from <> ".zst", level: 9}

          @impl Stevedore.Oban
          def handle_result(%{"bytes_in" => _, "bytes_out" => _}, _job), do: :ok
        end

        %{from: "/srv/in/1.tar"} |> MyApp.Compress.new() |> Oban.insert()

    A crash of the native code is a failed attempt with its signal and backtrace in the job's `errors`; the node, the queue and
    the other jobs go on. Whatever ends the Oban job ends the native one at once: `Oban.cancel_job/1`, `timeout/1`, a killed
    process, shutdown. `docs/guides/oban.md` goes through all of it. This module is there if Oban is.

    ## Options

    All options of `Oban.Worker` (`:queue`, `:max_attempts`, `:unique`, `:priority`, …) mean what they mean there. In addition:

      * `:pool` (required): the pool's name
      * `:op` (required): the op's name
      * `:call`: the call's own options, those of `Stevedore.call/4` but `:on_progress`: `call: [timeout: 30_000, priority: 2]`. They are
        in a list of their own because `:priority` is a word of both: outside it is the order in which Oban fetches jobs, inside the
        order in which they wait for a thread. `:progress_interval` is 1,000 ms here, less with a short `:stall_timeout`
      * `:stall_timeout`: ms a running job may make no progress. Then it is stopped, and `timed_out`. For ops that report progress:
        any other op seems to stall. Without it: as long as `timeout` allows
      * `:outcomes`: what becomes of jobs without a result, see below

    They are validated when the module is compiled.

    ## Outcomes

    #{Stevedore.Oban.OutcomeTable.docs()}

    What an entry does and how it is changed: `Stevedore.Oban.Outcome`.

    ## Checking a configuration

    As the last child, `{Stevedore.Oban, workers: [MyApp.Compress]}` logs a warning at start where a queue may run more jobs than its pool has
    threads, where a pool is missing, or where its `drain_timeout` is not shorter than Oban's `shutdown_grace_period`. It leaves no process.
    With `name: MyApp.Oban` it looks at another Oban than `Oban`. `check!/2` raises the same in a test.
    """

    alias Oban.Job
    alias Stevedore.Oban.{Check, Outcome, Settings}

    @typedoc "What `c:handle_error/2` may decide: an action of the table, or what Oban is to be told itself."
    @type decision :: Outcome.action() | Oban.Worker.result()

    @doc """
    The op's arguments. Default: the job's own, a map with binary keys.

    Binaries do not belong in the arguments of an Oban job, which are JSON in a table: pass a path, or read here what a reference
    (an id, an object's key) names.
    """
    @callback args(Job.t()) :: term

    @doc "The pool. Default: the option `:pool`."
    @callback pool(Job.t()) :: Stevedore.pool()

    @doc "The op. Default: the option `:op`."
    @callback op(Job.t()) :: Stevedore.op()

    @doc "The call's options. Default: the option `:call`. For a job that needs another `:timeout`: `[timeout: ms] ++ super(job)`."
    @callback call(Job.t()) :: keyword

    @doc "What to do with the op's value, and what to tell Oban. Default: `{:ok, value}`, which Oban does not store."
    @callback handle_result(value :: term, Job.t()) :: Oban.Worker.result()

    @doc """
    What becomes of a job that ended with an error. Default: what the table says. For some errors only:

        def handle_error(%{kind: :failed, details: %{"code" => "not_found"}}, _job), do: :cancel
        def handle_error(error, job), do: super(error, job)
    """
    @callback handle_error(Stevedore.Error.t(), Job.t()) :: decision

    @doc """
    Progress of the op: `done` of `total`, which is 0 if unknown. Called in the job's process, at most once in the call option
    `:progress_interval` (1,000 ms). If it fails that is logged, and the job goes on.
    """
    @callback handle_progress({done :: non_neg_integer, total :: non_neg_integer}, Job.t()) :: any

    @optional_callbacks handle_progress: 2

    @doc false
    defmacro __using__(options) do
      {ours, obans} = Settings.split!(options)

      quote location: :keep do
        use Oban.Worker, unquote(obans)
        @behaviour Stevedore.Oban
        @stevedore Stevedore.Oban.Settings.new!(unquote(ours))

        @doc false
        def __stevedore__, do: @stevedore

        @impl Oban.Worker
        def perform(%Oban.Job{} = job), do: Stevedore.Oban.Run.perform(__MODULE__, job)

        @impl Stevedore.Oban
        def args(%Oban.Job{args: args}), do: args

        @impl Stevedore.Oban
        def pool(%Oban.Job{}), do: @stevedore.pool

        @impl Stevedore.Oban
        def op(%Oban.Job{}), do: @stevedore.op

        @impl Stevedore.Oban
        def call(%Oban.Job{}), do: @stevedore.call

        @impl Stevedore.Oban
        def handle_result(value, %Oban.Job{}), do: {:ok, value}

        @impl Stevedore.Oban
        def handle_error(error, %Oban.Job{}),
          do: Stevedore.Oban.Outcome.action(error, @stevedore.outcomes)

        defoverridable args: 1, pool: 1, op: 1, call: 1, handle_result: 2, handle_error: 2
      end
    end

    @doc false
    @spec child_spec(keyword) :: Supervisor.child_spec()
    def child_spec(options) do
      %{
        id: {__MODULE__, options[:name]},
        start: {__MODULE__, :start_link, [options]},
        restart: :temporary
      }
    end

    @doc false
    @spec start_link(keyword) :: :ignore
    def start_link(options) do
      require Logger

      problems =
        options |> Keyword.fetch!(:workers) |> Check.problems(Keyword.get(options, :name, Oban))

      Enum.each(problems, &Logger.warning/1)
      :ignore
    end

    @doc """
    Raises if the queues of these worker modules, their pools and the times of both do not fit each other. Looks at what runs.

        Stevedore.Oban.check!([MyApp.Compress, MyApp.Thumbnail])
    """
    @spec check!([module], Oban.name()) :: :ok
    def check!(workers, oban \\ Oban) do
      case Check.problems(workers, oban) do
        [] -> :ok
        problems -> raise ArgumentError, Enum.join(problems, "\n")
      end
    end
  end
else
  defmodule Stevedore.Oban do
    @moduledoc """
    An Oban worker whose work is a native job. Stevedore was compiled without Oban here: `use Stevedore.Oban` says what to add.
    """

    @doc false
    defmacro __using__(_options) do
      raise "Stevedore was compiled without :oban: add {:oban, \"~> 2.19\"} to your dependencies, " <>
              "then `mix deps.compile stevedore --force`"
    end
  end
end
