defmodule Stevedore do
  @moduledoc """
  Crash-isolated native jobs: write a C function, call it from Elixir.

  A pool runs one or more OS processes, the *workers*, each with several threads. A *job* is one run of
  a native function, an *op*, on one of those threads. If it crashes, leaks or hangs, the BEAM does not
  notice: its caller gets an error, and the pool starts another worker.

      children = [
        {Stevedore, name: MyApp.Native, workers: 2, threads: 4}
      ]

      Supervisor.start_link(children, strategy: :one_for_one)

      {:ok, hash} = Stevedore.call(MyApp.Native, "digest", %{algorithm: "sha256", data: "abc"})

  Jobs may also be started now and awaited later, watched and cancelled:

      job = Stevedore.async(MyApp.Native, "zstd.compress", %{data: bytes}, on_progress: self())
      {:ok, small} = Stevedore.await(job)

  and a whole enumerable can be worked off with a bounded number of jobs in flight:

      MyApp.Native
      |> Stevedore.async_stream(files, "digest", &%{algorithm: "sha256", path: &1})
      |> Enum.to_list()

  ## Arguments and results

  Arguments may be any term made of integers, floats, atoms, binaries, bitstrings, lists, tuples and
  maps; most ops take a map with names as keys. A pid, reference, port or function in them makes the
  job a `:bad_request`. In results, text is binaries and so are the keys of maps: the only atoms are
  `true`, `false`, `nil` and those that were in the arguments.

  ## Errors

  Every function that waits for a job returns `{:ok, value}` or `{:error, %Stevedore.Error{}}`; the ones
  with a bang return the value or raise the error. See `Stevedore.Error` for the kinds, and for which
  of them the job certainly did not run.

  ## Options of a pool

  #{Stevedore.Options.docs(:pool)}

  ## Options of a call

  #{Stevedore.Options.docs(:call)}

  Both times are kept by the worker itself. If it does not answer in `queue_timeout` + `timeout` +
  `kill_after`, the caller gives up with `:timed_out`.
  """

  alias Stevedore.{Caller, Error, Job, JobStream, Options, Pool, Roster}

  @type pool :: atom
  @type op :: atom | String.t()
  @type result :: {:ok, term} | {:error, Error.t()}

  @doc """
  A pool as a child of a supervisor: `{Stevedore, name: MyApp.Native}`.

  The supervisor waits until all workers are ready, and does not start if one cannot be.
  """
  @spec child_spec(keyword) :: Supervisor.child_spec()
  def child_spec(options) do
    %{
      id: Keyword.get(options, :name, __MODULE__),
      start: {__MODULE__, :start_link, [options]},
      type: :supervisor
    }
  end

  @doc """
  Starts a pool. The error, if a worker cannot start, is a `Stevedore.Error` that says what to do.

  Raises `ArgumentError` for a wrong option.
  """
  @spec start_link(keyword) :: {:ok, pid} | {:error, Error.t() | term}
  defdelegate start_link(options), to: Pool

  @doc """
  Runs an op and waits for its result.

      {:ok, "pong"} = Stevedore.call(MyApp.Native, "ping", nil)
      {:error, %Stevedore.Error{kind: :timed_out}} = Stevedore.call(MyApp.Native, "sleep", %{ms: 1_000}, timeout: 10)
  """
  @spec call(pool, op, term, keyword) :: result
  def call(pool, op, args, options \\ []), do: Caller.call(pool, op, args, options)

  @doc "As `call/4`, but returns the value or raises the error."
  @spec call!(pool, op, term, keyword) :: term
  def call!(pool, op, args, options \\ []), do: pool |> call(op, args, options) |> bang!()

  @doc """
  Starts a job without waiting for it.

  If the pool has no ready worker, this waits for one, up to `queue_timeout`; whatever goes wrong is the
  job's result. The job must be awaited (or yielded to until it is done): its result is a message to
  this process. If this process ends first, the job is cancelled.
  """
  @spec async(pool, op, term, keyword) :: Job.t()
  def async(pool, op, args, options \\ []), do: Caller.start(pool, op, args, options)

  @doc "Waits for a job's result. Its own limits bound the wait."
  @spec await(Job.t()) :: result
  def await(%Job{} = job), do: settled(Caller.await(job), job)

  @doc "As `await/1`, but returns the value or raises the error."
  @spec await!(Job.t()) :: term
  def await!(job), do: job |> await() |> bang!()

  @doc "As `await/1`, but with `nil` if there is no result after `timeout` ms; it can then be asked again."
  @spec yield(Job.t(), timeout) :: result | nil
  def yield(%Job{} = job, timeout \\ 5_000), do: settled(Caller.yield(job, timeout), job)

  @doc """
  Asks for a job's end. Any process may.

  A job that waits never runs, one that runs is told at its next check. Its result still has to be
  awaited: it is `:cancelled`, or what the job came to if that was faster.

      job = Stevedore.async(MyApp.Native, "sleep", %{ms: 60_000})
      :ok = Stevedore.cancel(job)
      {:error, %Stevedore.Error{kind: :cancelled}} = Stevedore.await(job)
  """
  @spec cancel(Job.t()) :: :ok
  defdelegate cancel(job), to: Caller

  @doc """
  A stream of the results of one job per element, whose arguments `fun` makes.

      [{:ok, _}, {:ok, _}] =
        MyApp.Native
        |> Stevedore.async_stream(["a", "b"], "digest", &%{algorithm: "sha256", data: &1})
        |> Enum.to_list()

  Ending the stream early cancels what is in flight.

  ## Options

  Those of a call, and

  #{Options.docs(:stream)}
  """
  @spec async_stream(pool, Enumerable.t(), op, (term -> term), keyword) :: Enumerable.t()
  def async_stream(pool, enumerable, op, fun, options \\ []) when is_function(fun, 1) do
    {own, call_options} = Options.stream!(options)
    start = &Caller.start(pool, op, fun.(&1), call_options)
    JobStream.new(enumerable, own.max_concurrency || concurrency(pool), own.ordered, start)
  end

  defp concurrency(pool) do
    case 2 * Enum.sum_by(info(pool).workers, &(&1.threads || 1)) do
      0 -> 2 * System.schedulers_online()
      jobs -> jobs
    end
  end

  @doc """
  The counters of each ready worker, as the `stats` op reports them (PROTOCOL §6), busy or not.

      {:ok, [%{"running" => 0, "queued" => 0} | _]} = Stevedore.stats(MyApp.Native)
  """
  @spec stats(pool) :: {:ok, [map]} | {:error, Error.t()}
  def stats(pool) do
    case Roster.lookup(pool) do
      {:ok, [_ | _] = workers, _defaults} -> workers |> Enum.map(&ask(pool, "stats", &1)) |> all()
      _none -> with {:ok, stats} <- call(pool, "stats", nil), do: {:ok, [stats]}
    end
  end

  defp ask(pool, op, worker), do: Caller.start(pool, op, nil, [], worker)

  defp all(jobs) do
    results = Enum.map(jobs, &await/1)
    Enum.find(results, {:ok, for({:ok, value} <- results, do: value)}, &match?({:error, _}, &1))
  end

  @doc "The ops of the pool's workers: maps with `name`, `doc`, `flags` and `plugin` (PROTOCOL §6)."
  @spec ops(pool) :: {:ok, [map]} | {:error, Error.t()}
  def ops(pool), do: call(pool, "ops", nil)

  @doc """
  What the pool is made of, without asking its workers: `name` and, for each ready worker, its `pid`,
  `os_pid`, `version`, `threads` and the number of jobs `in_flight` in it. Raises if there is no such
  pool.
  """
  @spec info(pool) :: %{name: pool, workers: [map]}
  def info(pool) do
    case Roster.lookup(pool) do
      {:ok, workers, %{loads: loads}} ->
        %{name: pool, workers: Enum.flat_map(workers, &info(pool, &1, loads))}

      :error ->
        raise ArgumentError, "there is no pool #{inspect(pool)}: is it started?"
    end
  end

  # A worker may leave between the two look-ups.
  defp info(pool, {pid, _place} = worker, loads) do
    case Roster.facts(pool, pid) do
      nil -> []
      facts -> [Map.merge(facts, %{pid: pid, in_flight: Roster.load(worker, loads)})]
    end
  end

  defp settled(:refused, job), do: Caller.refused(job)
  defp settled(result, _job), do: result

  defp bang!({:ok, value}), do: value
  defp bang!({:error, error}), do: raise(error)
end
