defmodule Stevedore.Manager.ChangeTest do
  use ExUnit.Case, async: true

  alias Stevedore.Error
  alias Stevedore.Manager.Change

  @before %{name: P, plugins: [], generation: 0}
  @options %{name: P, plugins: ["a.so"], generation: 1}

  test "a recycling replaces one worker, with the pool's options" do
    change = Change.begin(Change.recycle(:old, :max_age), [:old, :other], @before)
    assert %{queue: [:old], options: @before, why: :max_age, restart: false} = change
    assert Change.finish(%{change | queue: []}) == :ok
  end

  test "a restart replaces all that are there when its turn comes, with its own options" do
    change = Change.begin(Change.restart(:from, @options), [:a, :b], @before)
    assert %{queue: [:a, :b], options: @options, before: @before, why: :restart} = change
    assert Change.finish(%{change | queue: [], done: [:x, :y]}) == :ok
  end

  test "a restart of a pool with nobody to replace starts all with its options, and has those of before if that fails" do
    change = Change.start(Change.restart(:from, @options), @before)
    assert %{queue: [], options: @options, before: @before, starting: true} = change
    failed = Change.fail(change, "why", @options)
    assert %{options: @before} = failed
    assert {:error, %Error{kind: :unavailable, message: message, pool: P}} = Change.finish(failed)
    assert message =~ "drained again: why"
  end

  test "if the pool drains a restart ends with the options of before, and an error; a recycling just ends" do
    change = Change.begin(Change.restart(:from, @options), [:a, :b], @before)
    assert %{options: @before} = given_up = Change.give_up(change)
    assert {:error, %Error{kind: :unavailable, pool: P}} = Change.finish(given_up)

    failed = Change.fail(change, "why", @before)
    assert Change.give_up(failed) == failed

    recycling = Change.begin(Change.recycle(:old, :max_age), [:old], @before)
    assert Change.give_up(recycling) == recycling
  end

  test "a recycling that fails is given up" do
    change = Change.begin(Change.recycle(:old, :max_age), [:old], @before)
    failed = Change.fail(%{change | old: :old, spare: :spare}, "why", @before)
    assert %{queue: [], old: nil, spare: nil} = failed
    assert Change.finish(failed) == :ok
  end

  test "a restart that fails goes the way back, and says why" do
    change = Change.begin(Change.restart(:from, @options), [:a, :b, :c], @before)
    change = %{change | queue: [:c], done: [:y, :x], old: :b, spare: :spare}
    failed = Change.fail(change, "no such plugin", @options)

    # Those that were replaced are replaced again; :b and :c have never been.
    assert %{queue: queue, done: [], old: nil, spare: nil, options: @before} = failed
    assert Enum.sort(queue) == [:x, :y]
    assert {:error, %Error{kind: :unavailable, pool: P} = error} = Change.finish(failed)
    assert error.message =~ "no such plugin"
    assert error.message =~ "old ones are in use again"
  end

  test "and if there is no way back either it ends, with the first reason" do
    change = Change.begin(Change.restart(:from, @options), [:a, :b], @before)
    failed = Change.fail(%{change | queue: [:b], done: [:x], old: :a}, "first", @options)
    failed = Change.fail(%{failed | queue: [:y], old: :x}, "second", @options)
    assert %{queue: [], options: @before} = failed
    assert {:error, %Error{message: message}} = Change.finish(failed)
    assert message =~ "first" and not (message =~ "second")
    # For ever would not help.
    assert Change.catch_up(failed, x: @options) == failed
  end

  test "a restart goes for those that were started meanwhile with other options" do
    change = Change.begin(Change.restart(:from, @options), [:a], @before)
    workers = [a: @before, b: @options, c: @before]
    # Not before its queue is empty.
    assert Change.catch_up(change, workers) == change
    change = %{change | queue: [], done: [:b]}
    assert %{queue: [:a, :c]} = Change.catch_up(change, workers)
    assert Change.catch_up(change, b: @options) == change
  end

  test "a recycling has nothing to do with them" do
    change = Change.begin(Change.recycle(:old, :max_age), [:old], @options)
    change = %{change | queue: []}
    assert Change.catch_up(change, c: @before) == change
  end
end
