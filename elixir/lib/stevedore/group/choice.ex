defmodule Stevedore.Group.Choice do
  @moduledoc false
  # Which node is next for a job. Pure, but for the dice.

  @typedoc "A node, the jobs it has, and its pool's threads; 0: no worker is ready."
  @type member :: {node, in_flight :: non_neg_integer, threads :: non_neg_integer}

  @doc "The node to try, of those that were not tried; `nil` if there is none."
  @spec next([member], tried :: [node], here :: node) :: node | nil
  def next(members, tried, here) do
    {here, others} =
      members
      |> Enum.reject(fn {node, _in_flight, _threads} -> node in tried end)
      |> Enum.split_with(fn {node, _in_flight, _threads} -> node == here end)

    pick(here, others)
  end

  # A thread is idle here.
  defp pick([{node, in_flight, threads}], _others) when in_flight < threads, do: node

  # Two at random, for the least loaded of all would be everybody's choice at once. Of equals, the first is best.
  defp pick(here, others) do
    ready = Enum.filter(others, &ready?/1)

    case Enum.filter(here, &ready?/1) ++ Enum.take_random(ready, 2) do
      [] -> any(here ++ Enum.take_random(others, 1))
      candidates -> candidates |> Enum.min_by(&load/1) |> elem(0)
    end
  end

  # They may have a ready worker in a moment.
  defp any([]), do: nil
  defp any([{node, _in_flight, _threads} | _]), do: node

  defp ready?({_node, _in_flight, threads}), do: threads > 0

  defp load({_node, in_flight, threads}), do: in_flight / threads
end
