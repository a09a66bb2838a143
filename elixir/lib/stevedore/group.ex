defmodule Stevedore.Group do
  @moduledoc """
  Equal pools on many nodes, called as one.

  Next to the pool, on every node, with the same names:

      children = [
        {Stevedore, name: MyApp.Native},
        {Stevedore.Group, name: MyApp.Natives, pool: MyApp.Native}
      ]

      Supervisor.start_link(children, strategy: :one_for_one)

      {:ok, hash} = Stevedore.Group.call(MyApp.Natives, "digest", %{algorithm: "sha256", data: "abc"})

  A node without the pool may have the group too, and call it. The nodes find each other over Erlang's own
  distribution, with `:pg` in a scope of the group's own: whatever connects the nodes, such as libcluster, is enough.

  ## Where a job goes

  Here, if a thread is idle here. Otherwise two other nodes are picked at random, and the job goes to the one of them, or here,
  that has the fewest jobs per thread. How busy the others are they say twice a second (`:gossip`), and this node adds what it
  has sent them since: between two messages it is a guess. Nodes where no worker is ready come last.

  ## When a node cannot take it

  A job that never started (`:overloaded`, `:unavailable`, no connection, a node that went down before the job had left for it)
  goes to the next node, until there is none or its `queue_timeout` is over. Its error then has `details["nodes"]`: what each of
  them said.

  A job that has left for a node which then goes down is `:lost`: nobody knows how far it came. If it may be run again
  (`idempotent`, by the call or the op), it is, once, on another node. All other errors are the job's own, and are returned.

  In telemetry each try is a job of its own.

  ## Options

  #{Stevedore.Options.docs(:group)}
  """

  use Supervisor

  alias Stevedore.{Caller, Error, Job, Options, Protocol, Remote, Telemetry}
  alias Stevedore.Group.{Choice, Members}

  @type group :: atom

  # Where neither the call nor a pool of this node says it.
  @queue_timeout 30_000

  # A job on its way to a node: what was tried, and whether it may have run somewhere.
  @enforce_keys [:group, :pool, :op, :args, :options, :start_by]
  defstruct @enforce_keys ++ [tried: %{}, lost: nil]

  @doc "The group's part on this node, as a child of a supervisor."
  @spec child_spec(keyword) :: Supervisor.child_spec()
  def child_spec(options) do
    %{
      id: Keyword.get(options, :name, __MODULE__),
      start: {__MODULE__, :start_link, [options]},
      type: :supervisor
    }
  end

  @doc "Starts the group's part on this node. Raises `ArgumentError` for a wrong option."
  @spec start_link(keyword) :: Supervisor.on_start()
  def start_link(options) do
    options = Options.group!(options)
    Supervisor.start_link(__MODULE__, options, name: Module.concat(options.name, Supervisor))
  end

  @impl true
  def init(options) do
    scope = Members.scope(options.name)

    children = [
      %{id: :pg, start: {:pg, :start_link, [scope]}},
      {Members, options}
    ]

    Supervisor.init(children, strategy: :rest_for_one)
  end

  @doc """
  Runs an op on one of the nodes and waits for its result. The options are those of `Stevedore.call/4`; `queue_timeout` counts over
  all nodes.

      {:ok, "pong"} = Stevedore.Group.call(MyApp.Natives, "ping", nil)
  """
  @spec call(group, Stevedore.op(), term, keyword) :: Stevedore.result()
  def call(group, op, args, options \\ []), do: group |> new(op, args, options) |> try_next()

  @doc "As `call/4`, but returns the value or raises the error."
  @spec call!(group, Stevedore.op(), term, keyword) :: term
  def call!(group, op, args, options \\ []) do
    case call(group, op, args, options) do
      {:ok, value} -> value
      {:error, error} -> raise error
    end
  end

  @doc """
  Starts a job on one of the nodes, to be awaited with `Stevedore.await/1`. It goes to another node only now, if one refuses
  it at once; what becomes of it later is its result. `Task.async/1` with `call/4` in it does more.
  """
  @spec async(group, Stevedore.op(), term, keyword) :: Job.t()
  def async(group, op, args, options \\ []) do
    case group |> new(op, args, options) |> start_next() do
      {:ok, started, _job} -> Job.to_await(started)
      {:error, refusal, job} -> job |> settle(refusal) |> Job.to_await()
    end
  end

  @doc """
  A stream of the results of one `call/4` per element, whose arguments `fun` makes, each in a process of its own. The options are those
  of a call and of `Stevedore.async_stream/5`; `:max_concurrency` is twice the threads of all nodes unless it is given.
  """
  @spec async_stream(group, Enumerable.t(), Stevedore.op(), (term -> term), keyword) ::
          Enumerable.t()
  def async_stream(group, enumerable, op, fun, options \\ []) when is_function(fun, 1) do
    {own, options} = Options.stream!(options)

    enumerable
    |> Task.async_stream(&call(group, op, fun.(&1), options),
      ordered: own.ordered,
      max_concurrency: own.max_concurrency || concurrency(group),
      timeout: :infinity
    )
    |> Stream.map(fn {:ok, result} -> result end)
  end

  defp concurrency(group), do: max(2, 2 * Enum.sum_by(nodes(group), & &1.threads))

  @doc """
  The nodes that have the pool, as this one knows them: maps with `node`, `in_flight` and `threads` (0: no worker
  is ready). Of other nodes it is what they said last, and what was sent to them since.
  """
  @spec nodes(group) :: [%{node: node, in_flight: non_neg_integer, threads: non_neg_integer}]
  def nodes(group) do
    _pool = Members.pool!(group)

    for {node, in_flight, threads} <- Members.all(group) do
      %{node: node, in_flight: in_flight, threads: threads}
    end
  end

  ## A job on its way

  defp new(group, op, args, options) do
    options = Options.validate_call!(options)
    pool = Members.pool!(group)
    queue_timeout = options[:queue_timeout] || Members.queue_timeout(pool) || @queue_timeout

    %__MODULE__{
      group: group,
      pool: pool,
      op: Protocol.op_name!(op),
      args: args,
      options: options,
      start_by: later(queue_timeout)
    }
  end

  defp try_next(job) do
    case start_next(job) do
      {:ok, started, job} -> started |> Caller.await() |> judge(started, job)
      {:error, _refusal, %{lost: %Error{} = error}} -> {:error, error}
      {:error, refusal, job} -> settle(job, refusal).outcome
    end
  end

  defp judge({:error, %Error{kind: kind} = error}, started, job)
       when kind in [:overloaded, :unavailable] do
    try_next(tried(job, started, error))
  end

  defp judge({:error, %Error{} = error} = result, started, %{lost: nil} = job) do
    if Remote.node_lost?(error) and started.remote.idempotent,
      do: try_next(%{tried(job, started, error) | lost: error}),
      else: result
  end

  # That it never ran is true only of this node.
  defp judge({:error, %Error{kind: :queue_timeout}}, _started, job), do: {:error, job.lost}
  defp judge(result, _started, _job), do: result

  # At the first node that does not refuse it at once.
  defp start_next(job) do
    case {left(job), Choice.next(Members.all(job.group), Map.keys(job.tried), node())} do
      {0, _node} -> {:error, out_of_time(job), job}
      {_left, nil} -> {:error, none_left(job), job}
      {left, node} -> job |> start_at(node, left) |> go_on(job)
    end
  end

  defp start_at(job, node, left) do
    :ok = Members.sent(job.group, node)
    options = Keyword.put(job.options, :queue_timeout, left)
    Remote.start(job.pool, node, job.op, job.args, options)
  end

  defp go_on(%Job{outcome: {:error, %Error{kind: kind} = error}} = started, job)
       when kind in [:overloaded, :unavailable] do
    start_next(tried(job, started, error))
  end

  defp go_on(started, job), do: {:ok, started, job}

  defp tried(job, started, error) do
    %{job | tried: Map.put(job.tried, Remote.node_of(started), error)}
  end

  defp left(%{start_by: :infinity}), do: :infinity
  defp left(%{start_by: start_by}), do: max(0, start_by - now())

  defp now, do: System.monotonic_time(:millisecond)

  defp later(:infinity), do: :infinity
  defp later(ms), do: now() + ms

  ## No node

  defp out_of_time(job) do
    {:queue_timeout,
     "no node of #{inspect(job.group)} took it within its queue_timeout#{said(job)}",
     details(job)}
  end

  defp none_left(%{tried: tried} = job) when tried == %{} do
    message =
      "no node that is connected has the pool #{inspect(job.pool)} of the group #{inspect(job.group)}: " <>
        "is it started, and are the nodes connected?"

    {:unavailable, message, details(job)}
  end

  defp none_left(job) do
    kind =
      if Enum.all?(job.tried, fn {_node, error} -> error.kind == :overloaded end),
        do: :overloaded,
        else: :unavailable

    {kind, "no node of #{inspect(job.group)} can take it#{said(job)}", details(job)}
  end

  defp said(%{tried: tried}) when tried == %{}, do: ""

  defp said(%{tried: tried}) do
    ": " <> Enum.map_join(tried, "; ", fn {node, error} -> "#{node}: #{error.message}" end)
  end

  defp details(job) do
    %{"nodes" => Map.new(job.tried, fn {node, error} -> {node, error.kind} end)}
  end

  # Telemetry has heard of each try. If there was none, of this.
  defp settle(job, refusal) do
    settled = %Job{
      ref: make_ref(),
      pool: job.pool,
      op: job.op,
      owner: self(),
      started_at: System.monotonic_time()
    }

    %{settled | outcome: outcome(settled, job, refusal)}
  end

  defp outcome(settled, %{tried: tried}, {kind, message, details}) when tried == %{} do
    Telemetry.job_start(settled)
    Caller.failure(settled, kind, message, details)
  end

  defp outcome(settled, _job, {kind, message, details}) do
    {:error,
     %Error{kind: kind, message: message, details: details, op: settled.op, pool: settled.pool}}
  end
end
