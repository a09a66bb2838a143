defmodule Stevedore.Group.ChoiceTest do
  use ExUnit.Case, async: true

  alias Stevedore.Group.Choice

  defp chosen(members, tried \\ []) do
    for _ <- 1..200, uniq: true, do: Choice.next(members, tried, :here)
  end

  test "here, while a thread is idle" do
    assert chosen([{:here, 1, 2}, {:a, 0, 8}]) == [:here]
  end

  test "else where there are the fewest jobs per thread; here, if it is the same" do
    assert chosen([{:here, 4, 2}, {:a, 4, 4}]) == [:a]
    assert chosen([{:here, 4, 2}, {:a, 9, 4}]) == [:here]
    assert chosen([{:here, 4, 2}, {:a, 8, 4}]) == [:here]
  end

  test "two of many are compared, so that not all go to one" do
    members = [{:here, 9, 1}, {:a, 0, 1}, {:b, 1, 1}, {:c, 2, 1}]
    assert members |> chosen() |> Enum.sort() == [:a, :b]
  end

  test "what was tried is not tried again" do
    members = [{:here, 0, 1}, {:a, 0, 1}]
    assert chosen(members, [:here]) == [:a]
    assert chosen(members, [:here, :a]) == [nil]
    assert chosen([]) == [nil]
  end

  test "where no worker is ready, only if there is nothing else; here first" do
    assert chosen([{:here, 0, 0}, {:a, 9, 1}]) == [:a]
    assert chosen([{:here, 0, 0}, {:a, 0, 0}]) == [:here]
    assert chosen([{:a, 0, 0}]) == [:a]
  end
end
