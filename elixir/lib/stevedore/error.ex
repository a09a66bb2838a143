defmodule Stevedore.Error do
  @moduledoc """
  Why a job did not come back with a value.

      iex> {:error, error} = {:error, %Stevedore.Error{kind: :unknown_op, op: "dogest", message: "no op of that name"}}
      iex> error.kind
      :unknown_op
      iex> Exception.message(error)
      "unknown_op: no op of that name (op dogest). Stevedore.ops/1 lists the ops of a pool."

  ## Fields

    * `kind`: one of the list below
    * `message`: what happened, for people
    * `op`: the op that was called
    * `details`: a map with what the kind adds (PROTOCOL §7), with binary keys if it comes from the worker
    * `receipt`: `%{queued_us: _, ran_us: _, cpu_us: _}`, microseconds it waited, ran and used of a CPU,
      as the worker measured them; `nil` if no worker did
    * `pool` and `worker`: where it was

  ## Kinds

  | kind | the job | meaning |
  |---|---|---|
  | `:bad_request` | never ran | the worker did not accept the message, for example because of a pid in the arguments |
  | `:unknown_op` | never ran | no op of that name |
  | `:bad_args` | never finished | the op refused its arguments |
  | `:failed` | ran | the op reported an error; `details["code"]` is its short name |
  | `:cancelled` | stopped, or never ran | someone cancelled it |
  | `:queue_timeout` | never ran | waited longer than it was allowed to |
  | `:timed_out` | stopped | ran longer than it was allowed to |
  | `:crashed` | died | it killed its worker |
  | `:lost` | unknown | was in a worker that died, finished or not |
  | `:overloaded` | never ran | the bounded queue is full |
  | `:quarantined` | never ran | the same op and arguments have killed workers repeatedly |
  | `:unavailable` | never ran | no worker can take it |
  | `:too_large`, `:no_memory` | not finished | a limit |

  *Never ran* is a promise: such a job may be run again without thinking.
  """

  @kinds [
    :bad_request,
    :unknown_op,
    :bad_args,
    :failed,
    :cancelled,
    :queue_timeout,
    :timed_out,
    :crashed,
    :lost,
    :overloaded,
    :quarantined,
    :unavailable,
    :too_large,
    :no_memory
  ]

  defexception [:kind, :message, :op, :pool, :worker, :receipt, details: %{}]

  @type kind ::
          unquote(Enum.reduce(Enum.reverse(@kinds), fn kind, rest -> {:|, [], [kind, rest]} end))

  @type receipt :: %{
          queued_us: non_neg_integer,
          ran_us: non_neg_integer,
          cpu_us: non_neg_integer
        }

  @type t :: %__MODULE__{
          kind: kind,
          message: String.t(),
          op: String.t() | nil,
          pool: atom,
          worker: pid | nil,
          receipt: receipt | nil,
          details: map
        }

  @doc "The closed list of kinds, in the order of `proto/error_kinds.def`."
  @spec kinds() :: [kind, ...]
  def kinds, do: @kinds

  @doc false
  @spec no_pool(term) :: t
  def no_pool(pool), do: %__MODULE__{kind: :unavailable, message: no_pool_text(pool), pool: pool}

  @doc false
  @spec no_pool_text(term) :: String.t()
  def no_pool_text(pool) when is_atom(pool),
    do: "there is no pool #{inspect(pool)}: is it started?"

  def no_pool_text(pool),
    do: "a pool is called by its name, an atom, or by {name, node}, got: #{inspect(pool)}"

  @impl true
  def message(%__MODULE__{} = error) do
    "#{error.kind}: #{error.message}#{where(error)}#{advice(error)}"
  end

  defp where(%{op: nil, pool: nil}), do: "."
  defp where(%{op: op, pool: nil}), do: " (op #{op})."
  defp where(%{op: nil, pool: pool}), do: " (pool #{inspect(pool)})."
  defp where(%{op: op, pool: pool}), do: " (op #{op}, pool #{inspect(pool)})."

  # About a pool, not a job: nothing could have run.
  defp advice(%{kind: :unavailable, op: nil}), do: ""
  defp advice(%{kind: kind}), do: advice_for(kind)

  defp advice_for(:unknown_op), do: " Stevedore.ops/1 lists the ops of a pool."

  defp advice_for(:queue_timeout),
    do: " It never ran: try later, or allow a longer :queue_timeout."

  defp advice_for(:timed_out), do: " Allow a longer :timeout if it may need it."

  defp advice_for(:lost),
    do: " Whether it ran is unknown: run it again only if that does no harm."

  defp advice_for(:overloaded), do: " It never ran: try later, or raise :max_queue or :workers."
  defp advice_for(:unavailable), do: " It never ran: it is safe to try again."
  defp advice_for(_kind), do: ""
end
