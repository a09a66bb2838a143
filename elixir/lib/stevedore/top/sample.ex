defmodule Stevedore.Top.Sample do
  @moduledoc false
  # What all pools of a node say at one moment, and what two such moments say about the time between. Taking one
  # asks the node; the rest is pure.

  # ms
  @answer_within 5_000

  @type t :: %{at: integer, node: node, pools: [map]}
  @type rate :: %{
          jobs: float,
          errors: float,
          p50: pos_integer | nil,
          p99: pos_integer | nil,
          waited: float | nil
        }

  @doc "Asks a node, this one or another."
  @spec take(node) :: {:ok, t} | {:error, String.t()}
  def take(node) do
    # A VM whose name comes from the node it is connected to does not connect again by itself.
    _ = if node != node(), do: Node.connect(node)
    names = ask(node, :pools, [])
    pools = for name <- names, {:ok, stats} <- [ask(node, :stats, [name])], do: stats
    {:ok, %{at: System.system_time(:millisecond), node: node, pools: pools}}
  rescue
    error in ErlangError -> {:error, why(error.original, node)}
    _undefined in UndefinedFunctionError -> {:error, why(:undef, node)}
  end

  defp ask(node, function, args) when node == node(), do: apply(Stevedore, function, args)
  defp ask(node, function, args), do: :erpc.call(node, Stevedore, function, args, @answer_within)

  defp why({:erpc, :noconnection}, node), do: "no connection to #{node}"
  defp why({:erpc, :timeout}, node), do: "#{node} does not answer"

  defp why({:exception, :undef, _stack}, node), do: why(:undef, node)

  defp why(:undef, node),
    do: "#{node} has no Stevedore, or an older one without Stevedore.pools/0"

  defp why(reason, node), do: "#{node} cannot be asked: #{inspect(reason)}"

  @doc "Between two samples, by pool. Without an earlier one nothing is known."
  @spec rates(t | nil, t) :: %{atom => rate}
  def rates(nil, _now), do: %{}

  def rates(before, now) do
    seconds = max(1, now.at - before.at) / 1000
    earlier = Map.new(before.pools, &{&1.name, &1.jobs})

    for pool <- now.pools, %{} = old <- [earlier[pool.name]], into: %{} do
      {pool.name, rate(since(old, pool.jobs), seconds)}
    end
  end

  # A pool that was started again counts from nothing.
  defp since(old, new) do
    if new.run_time.count < old.run_time.count or errors(new) < errors(old),
      do: %{
        ok: new.run_time.count,
        errors: errors(new),
        run: new.run_time.buckets,
        waited: new.queue_time.sum_us
      },
      else: %{
        ok: new.run_time.count - old.run_time.count,
        errors: errors(new) - errors(old),
        run: difference(old.run_time.buckets, new.run_time.buckets),
        waited: new.queue_time.sum_us - old.queue_time.sum_us
      }
  end

  defp errors(%{ended: ended}), do: ended |> Map.delete(:ok) |> Map.values() |> Enum.sum()

  defp difference(old, new) do
    Enum.zip_with(old, new, fn {bound, before}, {bound, count} -> {bound, count - before} end)
  end

  defp rate(since, seconds) do
    %{
      jobs: since.ok / seconds,
      errors: since.errors / seconds,
      p50: percentile(since.run, 0.5),
      p99: percentile(since.run, 0.99),
      waited: if(since.ok > 0, do: since.waited / since.ok)
    }
  end

  @doc "At most how many µs so many of the jobs in a histogram's buckets ran; `:infinity` if longer than all bounds."
  @spec percentile([{pos_integer | :infinity, non_neg_integer}], float) ::
          pos_integer | :infinity | nil
  def percentile(buckets, part) do
    {_bound, count} = List.last(buckets)

    with true <- count > 0,
         {bound, _count} <- Enum.find(buckets, fn {_bound, below} -> below >= part * count end) do
      bound
    else
      _none -> nil
    end
  end
end
