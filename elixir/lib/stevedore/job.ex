defmodule Stevedore.Job do
  @moduledoc """
  One run of an op, as `Stevedore.async/4` returns it.

      job = Stevedore.async(MyApp.Native, "sleep", %{ms: 10})
      {:ok, _} = Stevedore.await(job)

  Only the process that started a job can await it, once; any process can cancel it. The fields `ref` (which
  progress messages carry), `id` (which native logs and black boxes name), `pool` and `op` may be read, and
  `worker`, where it was sent first: it may have moved since. On another node's pool (`{pool, node}`) it has no `id` and no `worker` here, and
  `remote.node` is the node. The others are the library's own.
  """

  @enforce_keys [:ref, :pool, :op, :owner, :started_at]
  defstruct [
    :ref,
    :id,
    :pool,
    :op,
    :owner,
    :started_at,
    :worker,
    :on_progress,
    :ticket,
    :outcome,
    :tally,
    :context,
    :remote,
    :awaited,
    deadline: :infinity,
    limit: :infinity
  ]

  @type t :: %__MODULE__{
          ref: reference,
          id: non_neg_integer | nil,
          pool: atom,
          op: String.t(),
          owner: pid,
          worker: pid | nil,
          started_at: integer,
          on_progress: nil | pid | (non_neg_integer, non_neg_integer -> any),
          ticket: struct | nil,
          outcome: nil | {:error, Stevedore.Error.t()},
          tally: reference | nil,
          context: term,
          remote: struct | nil,
          awaited: :atomics.atomics_ref() | nil,
          deadline: integer | :infinity,
          limit: pos_integer | :infinity
        }

  @doc false
  @spec to_await(t) :: t
  def to_await(job), do: %{job | awaited: :atomics.new(1, [])}

  # Nothing else tells a job whose result has been taken from one whose result is to come: the wait would be in vain. It costs
  # a quarter of a microsecond, which what awaits by itself (call/4, streams) does not pay.
  @doc false
  @spec once(t, (t -> Stevedore.result() | nil)) :: Stevedore.result() | nil
  def once(%__MODULE__{awaited: awaited} = job, wait) do
    if :atomics.get(awaited, 1) == 1 do
      raise ArgumentError,
            "this job (op #{job.op}) has been awaited: it has one result, which was returned then"
    end

    result = wait.(job)
    if result, do: :atomics.put(awaited, 1, 1)
    result
  end
end
