defmodule Stevedore.Ticket do
  @moduledoc false
  # A job as everybody but its caller sees it: enough to answer it, to hand it to another worker, and to
  # run it again. It belongs to one process at a time (a worker, or the Dispatcher) and travels in messages.
  #
  # `ref` is an alias of the caller that one message spends: who sends it has settled the job, and whatever
  # anybody sends later goes nowhere. `id` names the job on the wire, in the black box and in logs. `context` is what
  # the caller wants to find in the job's events.

  alias Stevedore.{Error, Protocol, Whereabouts}

  @enforce_keys [
    :id,
    :ref,
    :owner,
    :pool,
    :op,
    :body,
    :options,
    :started_at,
    :start_by,
    :deadline
  ]
  defstruct @enforce_keys ++
              [:idempotent, :on_progress, :moved_at, :context, cancelled: false, reruns: 0]

  # The longest queue_timeout there is, in ms.
  @for_ever 2_147_483_647

  # ms before its caller gives up, by which a job has to start that is to run again.
  @in_time 1_000

  @type t :: %__MODULE__{
          id: Protocol.id(),
          ref: reference,
          owner: pid | nil,
          pool: atom,
          op: String.t(),
          body: Protocol.body(),
          options: binary,
          started_at: integer,
          start_by: integer | :infinity,
          deadline: integer | :infinity,
          idempotent: boolean | nil,
          on_progress: nil | :caller | pid,
          moved_at: integer | nil,
          context: term,
          cancelled: boolean,
          reruns: non_neg_integer
        }

  @doc "Hands the job to a process; from now on it is that one's."
  @spec give(t, pid) :: :ok
  def give(ticket, pid) do
    _ = if ticket.moved_at, do: Whereabouts.note(ticket, pid)
    send(pid, {:stevedore_call, ticket})
    :ok
  end

  @doc "Gives the caller its result. Nobody may have the ticket any more."
  @spec settle(t, Error.t()) :: :ok
  def settle(%__MODULE__{owner: nil} = ticket, _error), do: forget(ticket)

  def settle(ticket, %Error{} = error) do
    send(ticket.ref, {ticket.ref, {:settled, %{error | op: ticket.op, pool: ticket.pool}}})
    Whereabouts.forget(ticket.pool, ticket.ref)
  end

  @doc "The job is settled, or nobody waits for it: nobody has to find it any more."
  @spec forget(t) :: :ok
  def forget(%__MODULE__{moved_at: nil, cancelled: false}), do: :ok
  def forget(%__MODULE__{pool: pool, ref: ref}), do: Whereabouts.forget(pool, ref)

  @doc "Whether its time to start is over, at `now` (native units)."
  @spec expired?(t, integer) :: boolean
  def expired?(%__MODULE__{start_by: start_by}, now), do: start_by <= now

  @doc "The same job for another worker: what it has waited is taken off its `queue_timeout`."
  @spec move(t, integer) :: t
  def move(%__MODULE__{start_by: :infinity} = ticket, now), do: %{ticket | moved_at: now}

  def move(ticket, now) do
    left = System.convert_time_unit(ticket.start_by - now, :native, :millisecond)

    # What is to run again may start until its caller gives up, which may be later than can be written.
    left = left |> max(1) |> min(@for_ever)
    %{ticket | moved_at: now, options: Protocol.put_queue_timeout(ticket.options, left)}
  end

  @doc """
  The same job to be run again. It has waited for its start already, so its `queue_timeout` does not count any more;
  but it never starts when its caller has given up.
  """
  @spec again(t) :: t
  def again(%__MODULE__{deadline: :infinity} = ticket) do
    options = Protocol.put_queue_timeout(ticket.options, @for_ever)
    %{ticket | reruns: 1, start_by: :infinity, options: options}
  end

  def again(ticket) do
    in_time = System.convert_time_unit(@in_time, :millisecond, :native)
    %{ticket | reruns: 1, start_by: ticket.deadline - in_time}
  end

  @doc "How many of `limit` ms are left since it came to its present worker from another."
  @spec left_since_move(t, pos_integer) :: non_neg_integer
  def left_since_move(%__MODULE__{moved_at: nil}, _limit), do: 0

  def left_since_move(%__MODULE__{moved_at: moved_at}, limit) do
    since = System.convert_time_unit(System.monotonic_time() - moved_at, :native, :millisecond)
    max(0, limit - since)
  end

  @doc "Milliseconds since its caller asked for it."
  @spec waited_ms(t, integer) :: non_neg_integer
  def waited_ms(ticket, now) do
    System.convert_time_unit(now - ticket.started_at, :native, :millisecond)
  end

  @doc "The same for the same op and arguments, whoever calls and when."
  @spec fingerprint(t) :: binary
  def fingerprint(%__MODULE__{body: {iodata, _size}}), do: :erlang.md5(iodata)
  def fingerprint(%__MODULE__{body: body}), do: :erlang.md5(body)
end
