defmodule Chaos.Random do
  @moduledoc "What is drawn by the calling process, from a seed of its own: the same again for the same seed."

  @spec seed(integer, integer) :: :ok
  def seed(seed, stream) do
    _state = :rand.seed(:exsss, {seed, stream, 7})
    :ok
  end

  @spec chance(float) :: boolean
  def chance(probability), do: :rand.uniform() < probability

  @spec between(integer, integer) :: integer
  def between(low, high), do: low + :rand.uniform(high - low + 1) - 1

  @spec pick([value, ...]) :: value when value: term
  def pick(list), do: Enum.random(list)

  @doc "One of the values, each as likely as its weight says."
  @spec weighted([{weight :: number, value}, ...]) :: value when value: term
  def weighted(choices) do
    total = Enum.sum_by(choices, &elem(&1, 0))
    find(choices, :rand.uniform() * total)
  end

  defp find([{_weight, value}], _at), do: value
  defp find([{weight, value} | _others], at) when at < weight, do: value
  defp find([{weight, _value} | others], at), do: find(others, at - weight)
end
