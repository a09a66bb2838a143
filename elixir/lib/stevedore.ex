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

  With `:confine`:

  #{Stevedore.Confinement.docs()}

  ## Options of a call

  #{Stevedore.Options.docs(:call)}

  All three times are kept by the worker itself, in its own process, however busy the VM is. If it does not
  answer in `queue_timeout` + `timeout` + `kill_after` and another second, the caller gives up with `:timed_out`.

  ## When a worker dies

  The job that did it is `:crashed`, with the signal, the address and the native backtrace. Jobs that had not
  started go on in another worker, and nobody notices. Those that ran beside it are `:lost`, unless they may be
  run again (`idempotent`). See [the life of a job](job_lifecycle.md).

  ## Other nodes

  Wherever a pool is asked for, `{pool, node}` is that pool on another node, with the same results and the
  same errors; `details["node"]` says where it was. Two of them are about the node itself: `:unavailable`, if the job never left
  this one, and `:lost`, if the node was gone when it had. Several equal pools are a `Stevedore.Group`. See
  [several nodes](cluster.md).
  """

  @behaviour Stevedore.Behaviour

  alias Stevedore.{
    Caller,
    Dispatcher,
    Error,
    Health,
    Job,
    JobStream,
    Manager,
    Options,
    Pool,
    Remote,
    Roster,
    Stats
  }

  @typedoc "A pool by its name, here or on another node."
  @type pool :: atom | {atom, node}
  @type op :: atom | String.t()
  @type result :: {:ok, term} | {:error, Error.t()}

  @doc """
  A pool as a child of a supervisor: `{Stevedore, name: MyApp.Native}`.

  The supervisor waits until all workers are ready, and does not start if one cannot be.
  """
  @spec child_spec(keyword) :: Supervisor.child_spec()
  def child_spec(options) do
    options = Options.list!(options, "pool")

    %{
      id: Keyword.get(options, :name, __MODULE__),
      start: {__MODULE__, :start_link, [options]},
      type: :supervisor
    }
  end

  @doc """
  Starts a pool. The error, if a worker cannot start, is a `Stevedore.Error` that says what to do.

  Raises `ArgumentError` for a wrong option. As with every `start_link`, a failed start ends the calling process too,
  unless that traps exits: in IEx, the shell.
  """
  @spec start_link(keyword) :: {:ok, pid} | {:error, Error.t() | term}
  defdelegate start_link(options), to: Pool

  @doc """
  Runs an op and waits for its result.

      {:ok, "pong"} = Stevedore.call(MyApp.Native, "ping", nil)
      {:error, %Stevedore.Error{kind: :timed_out}} = Stevedore.call(MyApp.Native, "sleep", %{ms: 1_000}, timeout: 10)

  For the options see *Options of a call* in the documentation of this module.
  """
  @spec call(pool, op, term, keyword) :: result
  def call(pool, op, args, options \\ [])
  def call(pool, op, args, options) when is_atom(pool), do: Caller.call(pool, op, args, options)
  def call(pool, op, args, options), do: pool |> start(op, args, options) |> Caller.await()

  @doc "As `call/4`, but returns the value or raises the error."
  @spec call!(pool, op, term, keyword) :: term
  def call!(pool, op, args, options \\ []), do: pool |> call(op, args, options) |> bang!()

  @doc """
  Starts a job without waiting for it.

  If the pool has no ready worker, this waits for one, up to `queue_timeout`; whatever goes wrong is the
  job's result. (On another node it waits until that has said whether the job may come, a round trip.) The job must be awaited
  (or yielded to until it is done), once, by this process: its result is a message to it. If this process ends first, the job is cancelled.

  For the options see *Options of a call* in the documentation of this module.
  """
  @spec async(pool, op, term, keyword) :: Job.t()
  def async(pool, op, args, options \\ []),
    do: pool |> start(op, args, options) |> Job.to_await()

  defp start({pool, node}, op, args, options), do: Remote.start(pool, node, op, args, options)
  defp start(pool, op, args, options), do: Caller.start(pool, op, args, options)

  @doc """
  Waits for a job's result. Its own limits bound the wait.

  A job has one result, and is awaited once: for one whose result `await/1` or `yield/2` has returned, both raise `ArgumentError`.
  """
  @spec await(Job.t()) :: result
  def await(%Job{} = job), do: Job.once(job, &Caller.await/1)

  @doc "As `await/1`, but returns the value or raises the error."
  @spec await!(Job.t()) :: term
  def await!(job), do: job |> await() |> bang!()

  @doc "As `await/1`, but with `nil` if there is no result after `timeout` ms; only then can it be asked again."
  @spec yield(Job.t(), timeout) :: result | nil
  def yield(%Job{} = job, timeout \\ 5_000), do: Job.once(job, &Caller.yield(&1, timeout))

  @doc """
  Asks for a job's end. Any process may, on any node.

  A job that waits never runs, one that runs is told at its next check. Its result still has to be
  awaited: it is `:cancelled`, or what the job came to if that was faster.

      job = Stevedore.async(MyApp.Native, "sleep", %{ms: 60_000})
      :ok = Stevedore.cancel(job)
      {:error, %Stevedore.Error{kind: :cancelled}} = Stevedore.await(job)
  """
  @spec cancel(Job.t()) :: :ok
  def cancel(%Job{} = job), do: Caller.cancel(job)

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
    start = &start(pool, op, fun.(&1), call_options)
    JobStream.new(enumerable, own.max_concurrency || concurrency(pool), own.ordered, start)
  end

  defp concurrency(pool) do
    case 2 * Enum.sum_by(info(pool).workers, &(&1.threads || 1)) do
      0 -> 2 * System.schedulers_online()
      jobs -> jobs
    end
  end

  @doc """
  The pool's condition, and its workers' own counters, busy or not: a map with

    * `name`, `size`, how many workers there should be, and `draining`, whether it drains or has drained
    * `workers`: a map for each of them, see below
    * `deaths`: how many workers have died since the pool was started, by cause: `:crash`, `:exit`, `:kill`, `:oom`,
      `:signal`, `:stuck_job`, `:drain_timeout`, `:unresponsive`, `:kill_rss`, `:protocol`, `:port_closed`,
      `:worker_process`, `:boot`
    * `recent_deaths`: the last 32 of them, the newest first, see below
    * `circuit`: `:closed`, `:open`, or `:half_open` while it is open and a worker is being tried
    * `waiting`: jobs that are with no worker
    * `quarantined`: maps with `fingerprint`, `op` and `for_ms`
    * `jobs`: those that have ended since the pool was started: `ended`, how many by outcome (`:ok` and the kinds of
      `Stevedore.Error`; and of those that came to a value `queue_time` (`count` and `sum_us`) and `run_time`, a histogram:
      also with `buckets`, a list of `{us, count}` (so many ran at most that long; the last is `{:infinity, count}`).
      As with telemetry, a job that nobody awaits has no end.

  A worker:

    * `pid`, its process here, and `os_pid` (`nil` while it boots)
    * `slot`, from 1 to `size`; while a worker is replaced two have the same
    * `state`: `:booting`, `:ready`, `:wounded` or `:draining`
    * `version` and `threads` of its program; `nil` if it is not ready
    * `in_flight`: jobs it has, running or not
    * `jobs`: what runs on its threads: maps with `id`, `op`, `ran_ms` (since its start), `stuck` (it was asked to
      stop and did not) and `caller` (the process that waits; `nil` if none does any more)
    * `native`: the counters of its `stats` op (PROTOCOL §6), since it was started, with binary keys; `nil` if it boots, or
      did not answer within a second

  A death:

    * `at`: system time in ms
    * `worker` and `os_pid` (`nil` if it never got ready)
    * `cause`, as in `deaths`, and `text`, the same in words
    * `crash`: `nil`, or what the worker could still note: a map with `op` and `id` of the job (`nil`: no job's doing),
      `signal` (`nil`: `exit` was called), `address` such as `"0x0"`, `backtrace` (a list of frames as strings) and
      `ran_us`, how long the job had run

  It takes one message to each worker, and a second if one does not answer.

      {:ok, %{circuit: :closed, workers: [%{state: :ready} | _]}} = Stevedore.stats(MyApp.Native)
  """
  @spec stats(pool) :: {:ok, map} | {:error, Error.t()}
  def stats({pool, node}), do: Remote.run(node, :stats, [pool])

  def stats(pool) do
    with :error <- Stats.gather(pool), do: {:error, Error.no_pool(pool)}
  end

  @doc """
  Whether the pool can do its work: `:ok`, `{:degraded, reasons}` if it does but something is not as it should be,
  or `{:error, reasons}` if it does not. `Stevedore.Health` has the reasons, and what to make of it in an endpoint.

      :ok = Stevedore.health(MyApp.Native)

  It takes at most `:timeout` ms (1000), even if workers hang.
  """
  @spec health(pool, timeout: pos_integer) :: Health.t()
  def health(pool, options \\ [])

  def health({pool, node}, options) do
    with {:error, %Error{message: message}} <- Remote.run(node, :health, [pool, options]),
         do: {:error, [message]}
  end

  def health(pool, options), do: Health.check(pool, options)

  @doc """
  Replaces all workers, one after the other, each new one ready before an old one drains: no call is refused
  and none waits longer. With options (`:executable`, `:plugins`, `:args`, `:env`, `:threads`, `:confine`, `:boot_timeout`,
  `:drain_timeout`) the new ones run with those: a new release of the worker program, for example.

      :ok = Stevedore.restart(MyApp.Native, plugins: ["priv/thumbnail-2.so"])

  Returns when all is done. If a new worker does not get ready, the old ones stay, those that were replaced are
  replaced again with the options of before, and the error says why. If the pool is drained meanwhile, that is an error, too.

  A pool that drains, or has drained, serves again: all workers are started at once, and if one of them does not get
  ready, the pool is drained again and the error says why.
  """
  @spec restart(pool, keyword) :: :ok | {:error, Error.t()}
  def restart(pool, options \\ [])
  def restart({pool, node}, options), do: Remote.run(node, :restart, [pool, options])
  def restart(pool, options), do: Manager.restart(pool, options)

  @doc "Changes the number of workers. Returns at once: new ones boot, and those that are too many drain."
  @spec resize(pool, pos_integer) :: :ok
  def resize({pool, node}, workers), do: Remote.run!(node, :resize, [pool, workers])

  def resize(pool, workers) when workers in 1..1024,
    do: pool |> Manager.resize(workers) |> done!()

  @doc """
  Stops serving: new calls are `:unavailable`, jobs that have not started are given back as `:unavailable`, those that
  run may finish within `timeout` ms (15000) or, with `:infinity`, within 24 days, are asked to stop then, and all workers end, at the same time. Suspects that were
  to run again alone are `:lost`, but for the one that runs already. Returns when
  they have. The pool itself stays: `restart/2` or `resize/2` makes it serve again. So it does before it has drained: then
  this returns at once, and the workers that were told to end still do.
  """
  @spec drain(pool, timeout: timeout) :: :ok
  def drain(pool, options \\ [])
  def drain({pool, node}, options), do: Remote.run!(node, :drain, [pool, options])
  def drain(pool, options), do: pool |> Manager.drain(Options.drain!(options)) |> done!()

  @doc """
  Lifts the quarantine of a job, or of all. A job is named by its fingerprint, 16 bytes, as `stats/1` lists it under `quarantined`;
  the name of its op is not enough.
  """
  @spec release(pool, fingerprint :: binary | :all) :: :ok
  def release(pool, which \\ :all)
  def release({pool, node}, which), do: Remote.run!(node, :release, [pool, which])

  def release(pool, which) when which == :all or (is_binary(which) and byte_size(which) == 16),
    do: pool |> Dispatcher.release(which) |> done!()

  def release(_pool, which) do
    raise ArgumentError,
          "what is released is :all or a fingerprint of stats/1, got: #{inspect(which)}"
  end

  @doc "The ops of the pool's workers: maps with `name`, `doc`, `flags` and `plugin` (PROTOCOL §6)."
  @spec ops(pool) :: {:ok, [map]} | {:error, Error.t()}
  def ops(pool), do: call(pool, "ops", nil)

  @doc "The names of the pools that run in this VM."
  @spec pools() :: [pool]
  def pools, do: Enum.sort(Roster.pools())

  @doc """
  What the pool is made of, without asking its workers: `name` and, for each ready worker, its `pid`,
  `os_pid`, `version`, `threads` and the number of jobs `in_flight` in it. Raises if there is no such
  pool, or no connection to its node; so do `drain/2`, `resize/2` and `release/2`.
  """
  @spec info(pool) :: %{name: atom, workers: [map]}
  def info({pool, node}), do: Remote.run!(node, :info, [pool])

  def info(pool) do
    case Roster.lookup(pool) do
      {:ok, {workers, _quarantined}, %{loads: loads}} ->
        %{name: pool, workers: Enum.flat_map(workers, &info(pool, &1, loads))}

      :error ->
        raise ArgumentError, Error.no_pool_text(pool)
    end
  end

  # A worker may leave between the two look-ups.
  defp info(pool, {pid, _place, _threads} = worker, loads) do
    case Roster.facts(pool, pid) do
      nil ->
        []

      facts ->
        [
          Map.merge(Map.delete(facts, :idempotent), %{
            pid: pid,
            in_flight: Roster.load(worker, loads)
          })
        ]
    end
  end

  # What has no error to return.
  defp done!({:error, %Error{message: message}}), do: raise(ArgumentError, message)
  defp done!(:ok), do: :ok

  defp bang!({:ok, value}), do: value
  defp bang!({:error, error}), do: raise(error)
end
