# The judge finds what it is there to find: for each check, evidence that is wrong in just that.
#
#     mix run ../tests/chaos/judge_test.exs

for file <- ~w(random plan ledger judge), do: Code.require_file("#{file}.ex", __DIR__)

ExUnit.start()

defmodule Chaos.JudgeTest do
  use ExUnit.Case, async: true

  alias Chaos.{Judge, Ledger, Plan}

  @ran ["start k 1 11 100", "end k 1 11 200 ok"]
  @started ["start k 1 11 100"]

  describe "nothing is found in" do
    test "a job that ran", do: assert(found(ok(), @ran) == [])
    test "one that never did", do: assert(found(error(:overloaded), []) == [])
    test "a victim", do: assert(found(error(:lost), @started, disturbed: [1]) == [])

    test "a victim of another job" do
      other = plan("other", fault: "exit")
      lines = @started ++ ["start other 1 12 90"]
      assert [] = found([{plan("k"), error(:lost)}, {other, error(:crashed)}], lines, [])
    end

    test "a culprit" do
      assert found(plan("k", fault: "segv"), crashed("SIGSEGV", "ledger_segv"), @started) == []
    end

    test "the only one that ran in a worker that was killed" do
      assert found(plan("k"), crashed("SIGKILL", ""), @started, disturbed: [1]) == []
    end

    test "a victim that died before its first line" do
      assert found(error(:lost, details: %{"state" => "running"}), []) == []
    end

    test "an idempotent job's second run" do
      lines = ["start k 1 11 50"] ++ ["start k 2 11 100", "end k 2 11 200 ok"]
      assert found(plan("k", idempotent: true), ok(), lines) == []
    end

    test "a job whose caller was killed" do
      assert found([{plan("k"), []}], @started, killed: [7]) == []
    end

    test "a job that nobody waits for" do
      assert found([{plan("k"), []}], @started, abandoned: ["k"]) == []
    end
  end

  test "no_outcome", do: assert(found([{plan("k"), []}], @ran, []) == [:no_outcome])
  test "two_outcomes", do: assert(found([{plan("k"), [ok(), ok()]}], @ran, []) == [:two_outcomes])

  test "unknown_kind" do
    assert found(error(:eaten), @started) == [:unknown_kind]
    assert found(%{ok() | result: :refused}, @started) == [:unknown_kind]
  end

  test "unexpected_kind" do
    assert found(error(:failed), @started) == [:unexpected_kind]
    assert found(error(:cancelled), []) == [:unexpected_kind]
    assert found(plan("k", fault: "hang"), ok(), @ran) == [:unexpected_kind]
    assert found(plan("k", cancel_after: 0), error(:cancelled), []) == []
    refused = plan("k", fault: "unknown_op")
    assert :unexpected_kind in found(refused, error(:timed_out), [])
    assert found(refused, error(:timed_out, details: %{"clock" => "limit"}), []) == []
  end

  test "wrong_value", do: assert(found(ok("another"), @ran) == [:wrong_value])

  test "ok_without_end" do
    assert found(ok(), []) == [:ok_without_end]
    assert found(ok(), @started) == [:ok_without_end]
    assert found(ok(), @started ++ ["end k 1 11 200 stopped"]) == [:ok_without_end]
  end

  test "ran_although_never" do
    for kind <- [:queue_timeout, :overloaded, :unavailable] do
      assert found(error(kind), @started) == [:ran_although_never]
    end

    cancelled = error(:cancelled, receipt: %{queued_us: 5, ran_us: 0, cpu_us: 0})
    assert found(plan("k", cancel_after: 0), cancelled, @started) == [:ran_although_never]
    stopped = error(:cancelled, receipt: %{queued_us: 5, ran_us: 9, cpu_us: 1})
    assert found(plan("k", cancel_after: 0), stopped, @started) == []
  end

  test "ran_after_outcome" do
    late = ["start k 1 11 1001"]
    assert found(error(:timed_out), late) == [:ran_after_outcome]
  end

  test "ran_twice" do
    lines = @started ++ ["start k 2 11 150", "end k 2 11 200 ok"]
    assert found(ok(), lines) == [:ran_twice]
    assert found([{plan("k"), []}], lines, killed: [7]) == [:ran_twice]
  end

  test "ran_too_often" do
    starts = for pid <- 1..4, do: "start k #{pid} 11 100"
    twice = plan("k", idempotent: true)
    assert found(twice, ok(), starts ++ ["end k 4 11 200 ok"]) == [:ran_too_often]
    assert found(twice, ok(), Enum.drop(starts, 1) ++ ["end k 4 11 200 ok"]) == []
  end

  test "not_run_again" do
    twice = plan("k", idempotent: true)
    assert found(twice, error(:lost), @started, disturbed: [1]) == [:not_run_again]
    assert found(twice, error(:lost), @started ++ ["start k 2 11 110"], disturbed: [1, 2]) == []
    assert found(twice, error(:lost), @started, disturbed: [1], rerun_ms: 0) == []
    again = error(:lost, details: %{"state" => "running", "reruns" => 1})
    assert found(twice, again, @started, disturbed: [1]) == []
    hurried = %{twice | options: [queue_timeout: 5]}
    assert found(hurried, error(:lost), @started, disturbed: [1]) == []
  end

  test "lost_unstarted" do
    assert found(error(:lost), []) == [:lost_unstarted]
    assert found(error(:lost, details: %{"state" => "finished"}), []) == [:lost_unstarted]
    long_ago = %{"state" => "running", "ran_us" => 90_000}
    assert found(error(:lost, details: long_ago), []) == [:lost_unstarted]
  end

  test "unseen_starts" do
    unseen = error(:lost, details: %{"state" => "running"})
    assert found([{plan("k"), unseen}], [], []) == []
    assert found([{plan("k"), unseen}, {plan("other"), unseen}], [], []) == [:unseen_starts]
  end

  test "unseen_starts of jobs that were run again" do
    again = error(:lost, details: %{"state" => "running", "reruns" => 1})
    jobs = for key <- ["k", "l"], do: {plan(key, idempotent: true), again}
    lines = @started ++ ["start l 1 11 100"]
    assert :unseen_starts in found(jobs, lines, disturbed: [1])
  end

  test "timed_out_unstarted" do
    assert found(error(:timed_out), []) == [:timed_out_unstarted]
    assert found(error(:timed_out, details: %{"clock" => "limit"}), []) == []
  end

  test "wrong_culprit" do
    assert found(crashed("SIGSEGV", "ledger_segv"), @started) == [:wrong_culprit]
    assert found(crashed("SIGKILL", ""), @started) == [:wrong_culprit]
    assert found(crashed("SIGSEGV", "ledger_segv"), @started, blame: false) == []
  end

  test "culprit_lost" do
    assert found(plan("k", fault: "segv"), error(:lost), @started) == [:culprit_lost]
    assert found(plan("k", fault: "segv"), error(:lost), @started, disturbed: [1]) == []

    others = [
      {plan("k", fault: "segv"), error(:lost)},
      {plan("o", fault: "exit"), error(:crashed)}
    ]

    assert found(others, @started ++ ["start o 1 12 90"], []) == []
  end

  test "crash_details" do
    assert found(plan("k", fault: "fpe"), crashed("SIGSEGV", "ledger_fpe"), @started) ==
             [:crash_details]

    assert found(plan("k", fault: "fpe"), crashed("SIGFPE", "main"), @started) == [:crash_details]
  end

  test "unexplained_death", do: assert(found(error(:lost), @started) == [:unexplained_death])

  test "late_outcome" do
    assert found(%{ok() | took_ms: 11_001}, @ran) == [:late_outcome]
  end

  test "every check is tested here" do
    tests = for %{name: name} <- __MODULE__.__ex_unit__().tests, do: Atom.to_string(name)

    for {check, _meaning} <- Judge.checks() do
      assert "test #{check}" in tests
    end
  end

  ## Evidence

  defp found(outcome, lines), do: found(plan("k"), outcome, lines, [])
  defp found(jobs, lines, more) when is_list(jobs), do: judge(jobs, lines, more)
  defp found(%Plan{} = plan, outcome, lines), do: found(plan, outcome, lines, [])
  defp found(outcome, lines, more), do: found(plan("k"), outcome, lines, more)
  defp found(plan, outcome, lines, more), do: judge([{plan, outcome}], lines, more)

  defp judge(jobs, lines, more) do
    violations =
      Judge.violations(%{
        plans: for({plan, _outcomes} <- jobs, do: plan),
        outcomes: Map.new(jobs, fn {plan, outcomes} -> {plan.key, List.wrap(outcomes)} end),
        ledger: Enum.map(lines, &Ledger.parse/1),
        abandoned: MapSet.new(more[:abandoned] || []),
        killed: MapSet.new(more[:killed] || []),
        disturbed: MapSet.new(more[:disturbed] || []),
        blame: Keyword.get(more, :blame, true),
        rerun_ms: Keyword.get(more, :rerun_ms, 1_000)
      })

    for %{check: check, key: "k"} <- violations, do: check
  end

  defp plan(key, more \\ []), do: struct!(%Plan{key: key, caller: 7}, more)

  defp ok(value \\ "k"), do: outcome({:ok, value})

  defp error(kind, more \\ []) do
    outcome(
      {:error, Map.merge(%{kind: kind, message: "", details: %{}, receipt: nil}, Map.new(more))}
    )
  end

  defp crashed(signal, function) do
    error(:crashed, details: %{signal: signal, backtrace: [function]})
  end

  defp outcome(result), do: %{result: result, at: 1_000, took_ms: 5, limit_ms: 1_000}
end
