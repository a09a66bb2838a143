defmodule Stevedore.Remote do
  @moduledoc false
  # A job in the pool of another node, as its caller sees it; everything here runs in the caller's process.
  #
  #   caller                                     the pool's node
  #     │  may it come? (pool, op) ──────────────► a proxy: is there such a pool, and room in it?
  #     │ ◄─────────────── it may, and the pool's limits
  #     │  the job (body, options) ──────────────► sends it off and waits, as any caller of that node
  #     │ ◄─────────────── progress, the reply as the worker wrote it
  #
  # The first question costs a round trip and buys a promise: what was not told that it may come never left this node, so
  # it never ran, whatever became of the other. Once the job has left, a node that is gone makes it lost. It also spares
  # a large job the way to a node that would refuse it.
  #
  # The caller monitors the proxy, the proxy the caller; each ends what it has to when the other is gone. Replies
  # come over an alias that the caller takes back with the first of them. All times are relative: clocks differ.

  alias Stevedore.{Caller, Context, Job, Options, Protocol, Telemetry}
  alias Stevedore.Remote.{Connection, Proxy}

  @enforce_keys [:node]
  defstruct [:node, :proxy, :monitor, idempotent: false]

  @typedoc """
  Where a job is: `proxy` waits for it there, `monitor` is that of the proxy. Both are `nil` if it never left. `idempotent`:
  whether it may be run again, as the call says or else the op.
  """
  @type t :: %__MODULE__{
          node: node,
          proxy: pid | nil,
          monitor: reference | nil,
          idempotent: boolean
        }

  # The pool's default, where it is not known.
  @queue_timeout 30_000

  # ms in which a node answers whether a job may come, if it answers at all.
  @patience 5_000

  # What a caller waits beyond all that the other node waits, and for the way there: ms, and bytes per ms.
  @margin 5_000
  @slowest 1_024

  # ms, the longest `receive … after` there is: a caller whose limits are longer waits several times.
  @longest_wait 0xFFFF_FFFF

  @doc "Starts a job in the pool of a node, as `Stevedore.Caller.start/4` does here."
  @spec start(atom, node, atom | binary, term, keyword) :: Job.t()
  def start(pool, node, op, args, options) when node == node() do
    Caller.start(pool, op, args, options)
  end

  def start(pool, node, op, args, options) when is_atom(pool) and is_atom(node) do
    options = Options.validate_call!(options)
    op = Protocol.op_name!(op)
    body = Protocol.encode_call(op, args)

    job = %Job{
      ref: :erlang.alias([:explicit_unalias]),
      pool: pool,
      op: op,
      owner: self(),
      started_at: System.monotonic_time(),
      on_progress: options[:on_progress],
      context: Context.of(Map.new(options)),
      remote: %__MODULE__{node: node}
    }

    Telemetry.job_start(job)

    with :ok <- Connection.ensure(node, patience(options)),
         {:ok, job, settings} <- ask(job, options),
         {:ok, job} <- bring(job, body, options, settings) do
      job
    else
      {:error, refusal} -> refuse(job, refusal)
      {:error, job, refusal} -> refuse(job, refusal)
    end
  end

  def start(pool, node, _op, _args, _options) do
    raise ArgumentError,
          "a pool on another node is {name, node}, two atoms, got: #{inspect({pool, node})}"
  end

  defp patience(options), do: min(@patience, options[:queue_timeout] || @queue_timeout)

  ## May it come?

  defp ask(%Job{ref: ref, remote: %{node: node}} = job, options) do
    question = %{ref: ref, owner: self(), pool: job.pool, op: job.op}

    request =
      :erlang.spawn_request(node, Proxy, :serve, [question], [:monitor, reply: :error_only])

    receive do
      {^ref, {:come, proxy, settings, idempotent}} ->
        idempotent = with nil <- options[:idempotent], do: idempotent
        remote = %{job.remote | proxy: proxy, monitor: request, idempotent: idempotent}
        {:ok, %{job | remote: remote}, settings}

      {^ref, {:refused, refusal}} ->
        _ = Process.demonitor(request, [:flush])
        {:error, refusal}

      {:spawn_reply, ^request, :error, reason} ->
        {:error, unavailable(node, "could not be asked: #{inspect(reason)}")}

      {:DOWN, ^request, :process, _proxy, reason} ->
        {:error, unavailable(node, why_not(reason))}
    after
      patience(options) ->
        :ok = call_off(request)
        {:error, unavailable(node, "does not answer (for #{patience(options)} ms)")}
    end
  end

  # Either it has not been answered, and will not be any more, or the answer is on its way to this process.
  defp call_off(request) do
    unless :erlang.spawn_request_abandon(request) do
      _ = Process.demonitor(request, [:flush])

      receive do
        {:spawn_reply, ^request, _result, _} -> :ok
      after
        0 -> :ok
      end
    end

    :ok
  end

  defp why_not(:noconnection),
    do: "went down, or the connection to it was lost, before the job left"

  defp why_not({:undef, _stack}), do: "has no Stevedore of this version"
  defp why_not(reason), do: "could not take it: #{inspect(reason)}"

  defp unavailable(node, why), do: {:unavailable, "the node #{node} #{why}", %{}}

  ## It comes

  defp bring(job, body, options, settings) do
    %{queue_timeout: queue_timeout} = call = Options.call!(options, settings)
    size = Protocol.call_size(body, call.wire)

    case left_to_start(job, queue_timeout) do
      _any when size > call.max_frame ->
        {:error, job, Caller.too_large(size, call.max_frame)}

      0 ->
        {:error, job,
         {:queue_timeout, "its queue_timeout was over before its node had answered", %{}}}

      left ->
        options =
          Keyword.merge(options, on_progress: nil, queue_timeout: left, context: job.context)

        send(job.remote.proxy, {job.ref, :job, body, options, Proxy.progress(job.on_progress)})
        {:ok, limit(job, call.limit, size)}
    end
  end

  defp left_to_start(_job, :infinity), do: :infinity

  defp left_to_start(job, queue_timeout) do
    waited = System.monotonic_time() - job.started_at
    max(0, queue_timeout - System.convert_time_unit(waited, :native, :millisecond))
  end

  # What it must not take here even if the other node keeps no limit, for it has stopped.
  defp limit(job, :infinity, _size), do: job

  defp limit(job, limit, size) do
    limit = limit + @margin + div(size, @slowest)
    native = System.convert_time_unit(limit, :millisecond, :native)
    %{job | limit: limit, deadline: System.monotonic_time() + native}
  end

  # The job never left.
  defp refuse(job, {kind, message, details}) do
    :ok = leave(job)
    %{job | outcome: Caller.failure(job, kind, message, details)}
  end

  ## Waiting

  @spec await(Job.t()) :: Caller.result()
  def await(job), do: wait(job, job.deadline)

  @spec yield(Job.t(), timeout) :: Caller.result() | nil
  def yield(job, :infinity), do: wait(job, job.deadline)

  def yield(job, timeout) do
    native = System.convert_time_unit(timeout, :millisecond, :native)
    wait(job, min(job.deadline, System.monotonic_time() + native))
  end

  defp wait(%Job{owner: owner}, _until) when owner != self() do
    raise ArgumentError, "only the process that started a job can wait for it: #{inspect(owner)}"
  end

  defp wait(%Job{outcome: {:error, _error} = outcome}, _until), do: outcome

  defp wait(%Job{ref: ref, remote: %{monitor: monitor}} = job, until) do
    receive do
      {^ref, _reply} = message ->
        with :progress <- handle(job, message), do: wait(job, until)

      {:DOWN, ^monitor, :process, _proxy, _reason} = message ->
        handle(job, message)
    after
      min(@longest_wait, Caller.left(until)) -> go_on(job, until)
    end
  end

  defp go_on(job, until) do
    cond do
      Caller.left(until) > 0 -> wait(job, until)
      until == job.deadline -> give_up(job)
      true -> nil
    end
  end

  @doc "What a message with the job's reference, or that of its monitor, means."
  @spec handle(Job.t(), tuple) :: Caller.result() | :progress
  def handle(job, {ref, {:from, worker, message}}) do
    with result when result != :progress <-
           Caller.handle(%{job | worker: worker}, {ref, message}) do
      :ok = forget(job)
      result
    end
  end

  def handle(job, {:DOWN, _monitor, :process, _proxy, reason}) do
    :ok = forget(job)
    {kind, message, details} = what_became(job, reason)
    Caller.failure(job, kind, message, details)
  end

  # It waited for a job that did not come in all that time.
  defp what_became(job, {:shutdown, :nothing_came}) do
    unavailable(job.remote.node, "was not reached by the job in time")
  end

  defp what_became(job, :noconnection) do
    lost(job, "went down, or the connection to it was lost", "noconnection")
  end

  defp what_became(job, reason) do
    lost(job, "has lost the process that waited for the job: #{inspect(reason)}", inspect(reason))
  end

  defp lost(%Job{remote: %{node: node}}, why, reason) do
    {:lost, "the node #{node} #{why}, after the job had left for it", %{"reason" => reason}}
  end

  @doc "The other node has kept none of the job's limits."
  @spec give_up(Job.t()) :: Caller.result()
  def give_up(job) do
    :ok = abandon(job)
    {kind, message, details} = lost(job, "did not answer within #{job.limit} ms", "no answer")
    Caller.failure(job, kind, message, Map.put(details, "limit_ms", job.limit))
  end

  @doc "Whether an error says that the job was lost with its node, not with a worker there."
  @spec node_lost?(Stevedore.Error.t()) :: boolean
  def node_lost?(%{kind: :lost, details: %{"node" => _, "reason" => reason}}),
    do: reason in ["noconnection", "no answer"]

  def node_lost?(_error), do: false

  ## The end

  @spec cancel(Job.t()) :: :ok
  def cancel(job), do: tell(job, :cancel)

  @spec abandon(Job.t()) :: :ok
  def abandon(job), do: leave(job)

  defp leave(job) do
    :ok = tell(job, :abandon)
    forget(job)
  end

  defp tell(%Job{remote: %{proxy: nil}}, _what), do: :ok

  # To a node that is not there any more there is nothing to say.
  defp tell(%Job{ref: ref, remote: %{proxy: proxy}}, what) do
    _ = :erlang.send(proxy, {ref, what}, [:noconnect])
    :ok
  end

  # Nothing arrives any more, and nothing that has arrived stays.
  defp forget(%Job{ref: ref, remote: %{monitor: monitor}}) do
    _ = :erlang.unalias(ref)
    _ = if monitor, do: Process.demonitor(monitor, [:flush])
    Caller.flush(ref)
  end

  ## Where a job is

  @doc "The node of a job, or of a ticket."
  @spec node_of(map) :: node
  def node_of(%Job{remote: %__MODULE__{node: node}}), do: node
  def node_of(_here), do: node()

  @doc "An error's details with the job's node, if it is another one."
  @spec locate(map, Job.t()) :: map
  def locate(details, %Job{remote: %__MODULE__{node: node}}), do: Map.put(details, "node", node)
  def locate(details, _here), do: details

  ## What is no job

  @doc """
  Runs a function of `Stevedore` on another node. If that cannot be reached, the result is the error `unavailable`; what the
  function raises is raised.
  """
  @spec run(node, atom, [term]) :: term
  def run(node, fun, args) do
    :erpc.call(node, Stevedore, fun, args)
  catch
    :error, {:exception, reason, _stack} -> :erlang.error(reason)
    :exit, {:exception, reason} -> exit(reason)
    :error, {:erpc, reason} -> {:error, unreachable(node, hd(args), reason)}
  end

  @doc "As `run/3`, but raises the error."
  @spec run!(node, atom, [term]) :: term
  def run!(node, fun, args) do
    with {:error, %Stevedore.Error{} = error} <- run(node, fun, args), do: raise(error)
  end

  defp unreachable(node, pool, reason) do
    %Stevedore.Error{
      kind: :unavailable,
      message: "the node #{node} cannot be reached: #{inspect(reason)}",
      pool: pool,
      details: %{"node" => node}
    }
  end
end
