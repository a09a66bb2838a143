defmodule Chaos.Plan do
  @moduledoc """
  What one job is told to do: its op, arguments and options, drawn at random. Every plan has a key of its
  own, by which the ledger knows it.

  `fault` is what goes wrong in it: one of those that `tests/plugins/ledger.c` knows, or `unknown_op`,
  `bad_request`, `bad_args`, or `nil`.
  """

  import Chaos.Random

  @enforce_keys [:key, :caller]
  defstruct [
    :key,
    :caller,
    op: "ledger.work",
    args: %{},
    options: [],
    fault: nil,
    idempotent: false,
    cancel_after: nil
  ]

  @type t :: %__MODULE__{
          key: String.t(),
          caller: integer,
          op: String.t(),
          args: map,
          options: keyword,
          fault: String.t() | nil,
          idempotent: boolean,
          cancel_after: nil | non_neg_integer
        }

  @signals %{"segv" => "SIGSEGV", "stack" => "SIGSEGV", "abort" => "SIGABRT", "fpe" => "SIGFPE"}
  @deadly Map.keys(@signals) ++ ~w(exit _exit half_frame garbage)
  @stuck ~w(hang hang_busy stop_self)
  @heavy ~w(leak)
  @refused ~w(unknown_op bad_request bad_args)

  @doc "Faults that kill the worker, by a signal or otherwise."
  def deadly, do: @deadly

  @doc "Faults after which the worker has to be killed."
  def stuck, do: @stuck

  @doc "The signal of a fault, or `nil` if it dies of none."
  def signal(fault), do: @signals[fault]

  @doc "Whether a job of this plan can be why its worker died, or was killed."
  def harmful?(%__MODULE__{fault: fault}),
    do: fault in @deadly or fault in @stuck or fault in @heavy

  @doc "`rates`: how many of a hundred jobs are deadly, stuck, wrong otherwise."
  @spec draw(String.t(), integer, map) :: t
  def draw(key, caller, rates) do
    fault = fault(rates)
    by = weighted([{7, :nothing}, {2, :op}, {1, :option}])

    %__MODULE__{
      key: key,
      caller: caller,
      fault: fault,
      op: op(fault, by),
      args: args(fault, key),
      idempotent: by != :nothing,
      options: Enum.concat([idempotent(by), times(), priority()])
    }
  end

  @doc "The same job, but called as that other one is."
  @spec like(t, t) :: t
  def like(%__MODULE__{fault: "unknown_op"} = plan, model), do: like(%{plan | fault: nil}, model)

  def like(plan, model),
    do: %{plan | op: model.op, options: model.options, idempotent: model.idempotent}

  @doc "How long its call may take, with the pool's `limits` for what it does not say itself."
  @spec limit_ms(t, map) :: integer
  def limit_ms(plan, limits) do
    [:timeout, :queue_timeout, :kill_after]
    |> Enum.sum_by(&Keyword.get(plan.options, &1, limits[&1]))
    # An idempotent job may be run again, and once more alone.
    |> then(&if(plan.idempotent, do: 3 * &1, else: &1))
  end

  defp fault(rates) do
    case :rand.uniform() * 100 do
      at when at < rates.deadly -> pick(@deadly)
      at when at < rates.deadly + rates.stuck -> pick(@stuck)
      at when at < rates.deadly + rates.stuck + rates.wrong -> pick(~w(fail leak) ++ @refused)
      _at -> nil
    end
  end

  defp op("unknown_op", _by), do: "ledger.nothing"
  defp op(_fault, :op), do: "ledger.idempotent"
  defp op(_fault, _by), do: "ledger.work"

  defp args(fault, key), do: Map.merge(%{key: key, ms: ms()}, more(fault))

  defp more(nil), do: %{}
  defp more("unknown_op"), do: %{}
  defp more("bad_request"), do: %{pid: self()}
  defp more("bad_args"), do: %{ms: -1}
  defp more("leak"), do: %{fault: "leak", bytes: between(1, 16) * 1_048_576}
  defp more(fault), do: %{fault: fault}

  defp ms, do: weighted([{5, 0}, {4, between(1, 20)}, {1, between(50, 200)}])

  defp idempotent(:option), do: [idempotent: true]
  defp idempotent(_by), do: []

  defp times do
    weighted([
      {6, []},
      {1, [timeout: between(1, 50)]},
      {1, [queue_timeout: between(1, 50)]},
      {1, [timeout: between(50, 500), queue_timeout: between(50, 500)]},
      {1, [timeout: between(20, 200), kill_after: between(50, 300)]}
    ])
  end

  defp priority, do: if(chance(0.3), do: [priority: between(0, 9)], else: [])
end
