defmodule Stevedore.QuarantineTest do
  use ExUnit.Case, async: true

  alias Stevedore.Quarantine

  defp new, do: Quarantine.new(deaths: 3, window: 1_000, for: 500)

  # Notes a death of a job at each of these times; says what each of them led to.
  defp deaths(quarantine, fingerprint \\ "a", times) do
    Enum.map_reduce(times, quarantine, &Quarantine.note(&2, fingerprint, "op", &1))
  end

  test "the third death within the window quarantines" do
    {said, quarantine} = deaths(new(), [0, 500, 999])
    assert said == [:noted, :noted, :quarantined]
    assert quarantine.quarantined == %{"a" => {"op", 1_499}}
    # A clean sheet for afterwards.
    assert quarantine.suspects == %{}
  end

  test "deaths that are further apart do not" do
    assert {[:noted, :noted, :noted, :quarantined], _} = deaths(new(), [0, 999, 1_000, 1_500])
    {said, quarantine} = deaths(new(), Enum.map(0..50, &(&1 * 500)))
    assert Enum.all?(said, &(&1 == :noted))
    assert quarantine.quarantined == %{}
    # And what is forgotten takes no room.
    assert [_, _] = quarantine.suspects["a"]
  end

  test "each job has its own count" do
    {_, quarantine} = deaths(new(), "a", [0, 1])
    {said, quarantine} = deaths(quarantine, "b", [2, 3])
    assert said == [:noted, :noted]
    assert {[:quarantined], quarantine} = deaths(quarantine, "a", [4])
    assert Map.keys(quarantine.quarantined) == ["a"]
  end

  test "it ends when its time is over" do
    {_, quarantine} = deaths(new(), [0, 0, 0])
    assert Quarantine.next_expiry(quarantine, 100) == 400
    assert Quarantine.expire(quarantine, 499) == quarantine
    over = Quarantine.expire(quarantine, 500)
    assert over.quarantined == %{}
    assert Quarantine.next_expiry(over, 500) == nil
    assert {[:noted], _} = deaths(over, [501])
  end

  test "the next one to be free is the first of all, late is now" do
    {_, quarantine} = deaths(new(), "a", [0, 0, 0])
    {_, quarantine} = deaths(quarantine, "b", [100, 100, 100])
    assert Quarantine.next_expiry(quarantine, 200) == 300
    assert Quarantine.next_expiry(quarantine, 9_000) == 0
  end

  test "one can be released, or all, with what they were suspected of" do
    {_, quarantine} = deaths(new(), "a", [0, 0, 0])
    {_, quarantine} = deaths(quarantine, "b", [0, 0, 0])
    {_, quarantine} = deaths(quarantine, "c", [0, 0])

    one = Quarantine.release(quarantine, "a")
    assert Map.keys(one.quarantined) == ["b"]
    assert {[:quarantined], _} = deaths(one, "c", [1])
    assert {[:noted], _} = quarantine |> Quarantine.release("c") |> deaths("c", [1])
    assert Quarantine.release(quarantine, "x") == quarantine

    none = Quarantine.release(quarantine, :all)
    assert {none.quarantined, none.suspects} == {%{}, %{}}
  end

  test "the first death may be enough, and none may be" do
    assert {[:quarantined], _} = deaths(Quarantine.new(deaths: 1, window: 1, for: 1), [0])
    never = Quarantine.new(false)
    assert deaths(never, Enum.to_list(1..100)) == {List.duplicate(:noted, 100), never}
  end

  test "it remembers a bounded number of jobs, the oldest give way" do
    {_, quarantine} = deaths(new(), "old", [0, 0])
    {_, quarantine} = deaths(quarantine, "new", [900, 900])

    full =
      Enum.reduce(1..999, quarantine, fn n, quarantine ->
        {:noted, quarantine} = Quarantine.note(quarantine, n, "op", 500)
        quarantine
      end)

    assert map_size(full.suspects) == 1_000
    refute is_map_key(full.suspects, "old")
    assert {[:quarantined], _} = deaths(full, "new", [901])
  end

  test "the refusal says for how long" do
    assert {:quarantined, message, %{"retry_after_ms" => 300}} = Quarantine.refusal(1_000, 700)
    assert message =~ "300 ms" and message =~ "Stevedore.release/2"
    assert {:quarantined, _, %{"retry_after_ms" => 0}} = Quarantine.refusal(1_000, 1_001)
  end
end
