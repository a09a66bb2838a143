defmodule Chaos.Judge do
  @moduledoc """
  Compares what callers were told with what the ledger says has happened. Pure: it is given all of it.

  Every check has a name and is a clause of `check/3`, which says `nil` or what is wrong with one job; but for
  `unseen_starts`, which is about all of them.
  """

  alias Chaos.Plan

  @checks [
    no_outcome: "every call has an outcome",
    two_outcomes: "and only one",
    unknown_kind: "of a kind on the list",
    unexpected_kind: "that such a job can have",
    wrong_value: "an ok job replies its own key",
    ok_without_end: "an ok job has come to its end",
    ran_although_never: "a job that never ran has not run",
    ran_after_outcome: "no job starts after its outcome",
    ran_twice: "a job that is not idempotent runs once",
    ran_too_often: "an idempotent one at most twice, and once more alone",
    not_run_again: "an idempotent one with time left is not lost at its first death",
    lost_unstarted: "a lost job had started",
    unseen_starts: "hardly any of them dies between its start and its first line",
    timed_out_unstarted: "a timed-out job had started",
    wrong_culprit: "a crashed job has crashed",
    culprit_lost: "a job that alone crashed its worker is crashed",
    crash_details: "and says of which signal, in which function",
    unexplained_death: "a worker with lost jobs had a reason to die",
    late_outcome: "an outcome comes within the limits of its call"
  ]

  @kinds Stevedore.Error.kinds()
  @never_ran [:queue_timeout, :overloaded, :unavailable, :quarantined, :unknown_op, :bad_request]

  # What can happen to any job. A job that waits may be timed out only by a worker that stands still.
  @circumstances [:lost, :unavailable, :overloaded, :queue_timeout, :timed_out]

  # For a scheduler that is busy with other things: nothing here is a test of speed.
  @patience_ms 10_000

  # The black box notes a start as the op is called, and a moment later the op writes its line. Who dies
  # between the two is rightly lost. That has to be a moment, if the error says how long it ran, and rare.
  @moment_us 50_000
  @deaths_per_unseen 50

  @typedoc "What a caller was told: `result`, when (`at`, the ledger's clock), after how long, which was allowed how long."
  @type outcome :: %{
          result: {:ok, term} | {:error, map},
          at: integer,
          took_ms: number,
          limit_ms: number
        }

  @typedoc """
    * `abandoned`: keys of jobs whose outcome nobody waits for
    * `killed`: callers that were killed, whose jobs need no outcome
    * `disturbed`: OS processes of workers that were killed, stopped or orphaned on purpose
    * `blame`: `false` if workers die by themselves, so that any job may be the culprit
    * `rerun_ms`: an idempotent job that is lost sooner than that had time, and room, to be run again
  """
  @type evidence :: %{
          plans: [Plan.t()],
          outcomes: %{String.t() => [outcome]},
          ledger: [Chaos.Ledger.line()],
          abandoned: MapSet.t(String.t()),
          killed: MapSet.t(integer),
          disturbed: MapSet.t(integer),
          blame: boolean,
          rerun_ms: non_neg_integer
        }

  @type violation :: %{check: atom, key: String.t() | nil, text: String.t()}

  @spec checks() :: keyword(String.t())
  def checks, do: @checks

  @spec violations(evidence) :: [violation]
  def violations(evidence) do
    lines = Enum.group_by(evidence.ledger, & &1.key)
    context = Map.put(evidence, :harmful, harmful(evidence.plans, lines))

    jobs = for plan <- evidence.plans, do: job(plan, lines, evidence)

    for job <- jobs, {name, _meaning} <- @checks, wrong = check(name, job, context) do
      %{check: name, key: job.plan.key, text: describe(wrong, job)}
    end ++ unseen_starts(jobs)
  end

  defp job(plan, lines, evidence) do
    own = Map.get(lines, plan.key, [])
    {starts, ends} = Enum.split_with(own, &(&1.what == :start))

    %{
      plan: plan,
      outcomes: Map.get(evidence.outcomes, plan.key, []),
      lines: own,
      starts: starts,
      ends: ends,
      abandoned:
        MapSet.member?(evidence.abandoned, plan.key) or
          MapSet.member?(evidence.killed, plan.caller)
    }
  end

  # For each OS process, the keys of the jobs started in it that can have killed it.
  defp harmful(plans, lines) do
    for plan <- plans,
        Plan.harmful?(plan),
        %{what: :start, pid: pid} <- Map.get(lines, plan.key, []),
        reduce: %{} do
      harmful -> Map.update(harmful, pid, MapSet.new([plan.key]), &MapSet.put(&1, plan.key))
    end
  end

  ## The checks

  defp check(:no_outcome, %{outcomes: [], abandoned: false}, _context), do: "no outcome"

  defp check(:two_outcomes, %{outcomes: [_, _ | _] = all}, _context),
    do: "#{length(all)} outcomes"

  defp check(:ran_twice, %{plan: %{idempotent: false}, starts: [_, _ | _]}, _context),
    do: "it ran more than once"

  defp check(:ran_too_often, %{starts: [_, _, _, _ | _]}, _context),
    do: "it ran more than three times"

  # The others need one outcome.
  defp check(name, %{outcomes: [outcome]} = job, context),
    do: check(name, kind(outcome), outcome, job, context)

  defp check(_name, _job, _context), do: nil

  defp check(:unknown_kind, kind, _outcome, _job, _context) when kind not in [:ok | @kinds],
    do: "no kind that is known"

  # Whose worker stands still may be given up, whatever it would have come to.
  defp check(:unexpected_kind, :timed_out, %{result: {:error, error}}, %{plan: plan}, _context) do
    if :timed_out not in expected(plan) and not gave_up?(error), do: "such a job cannot end so"
  end

  defp check(:unexpected_kind, kind, _outcome, %{plan: plan}, _context) do
    if kind in [:ok, :crashed | @kinds] and kind not in expected(plan),
      do: "such a job cannot end so"
  end

  defp check(:wrong_value, :ok, %{result: {:ok, value}}, %{plan: %{key: key}}, _context)
       when value != key,
       do: "another job's result"

  defp check(:ok_without_end, :ok, _outcome, job, _context) do
    unless Enum.any?(job.ends, &(&1.how == "ok")), do: "it never came to its end"
  end

  defp check(:ran_although_never, kind, outcome, %{starts: [_ | _]}, _context) do
    if kind in @never_ran or never_ran?(kind, outcome.result), do: "it did run"
  end

  defp check(:ran_after_outcome, _kind, outcome, job, _context) do
    case Enum.find(job.starts, &(&1.at > outcome.at)) do
      nil -> nil
      start -> "it started #{ms(start.at - outcome.at)} ms after its outcome"
    end
  end

  defp check(:not_run_again, :lost, outcome, %{plan: plan, starts: [_]}, context) do
    if plan.idempotent and has_time?(plan) and outcome.took_ms < context.rerun_ms and
         not rerun_unseen?(outcome),
       do: "it is idempotent and was not run again"
  end

  defp check(:lost_unstarted, :lost, %{result: {:error, error}}, %{starts: []}, _context) do
    unless unseen?(error), do: "it never started"
  end

  defp check(:timed_out_unstarted, :timed_out, %{result: {:error, error}}, %{starts: []}, _ctx) do
    unless gave_up?(error), do: "it never started"
  end

  defp check(:wrong_culprit, :crashed, %{result: {:error, error}}, job, %{blame: true} = context) do
    unless Plan.harmful?(job.plan) or (was_killed?(error) and disturbed?(job, context)),
      do: "it did nothing wrong"
  end

  defp check(:culprit_lost, kind, _outcome, job, %{blame: true} = context) do
    if kind != :crashed and crashed_alone?(job, context),
      do: "it crashed, and nobody else did anything"
  end

  defp check(:crash_details, :crashed, %{result: {:error, error}}, job, %{blame: true} = context) do
    if crashed_alone?(job, context), do: missing_detail(job.plan.fault, error.details)
  end

  defp check(
         :unexplained_death,
         :lost,
         _outcome,
         %{starts: [_ | _]} = job,
         %{blame: true} = context
       ) do
    pid = List.last(job.starts).pid

    unless MapSet.member?(context.disturbed, pid) or is_map_key(context.harmful, pid),
      do: "its worker #{pid} had no reason to die"
  end

  defp check(:late_outcome, _kind, %{took_ms: took, limit_ms: limit}, _job, _context) do
    if took > limit + @patience_ms, do: "it came after #{took} ms, its limits are #{limit} ms"
  end

  defp check(_name, _kind, _outcome, _job, _context), do: nil

  defp unseen_starts(jobs) do
    unseen =
      for %{outcomes: [%{result: {:error, %{kind: :lost} = error}} = outcome]} = job <- jobs,
          (job.starts == [] and unseen?(error)) or
            (match?([_], job.starts) and rerun_unseen?(outcome)),
          do: job

    workers = for %{starts: starts} <- jobs, %{pid: pid} <- starts, into: MapSet.new(), do: pid

    if length(unseen) > 1 + div(MapSet.size(workers), @deaths_per_unseen),
      do:
        for(
          job <- unseen,
          do: %{check: :unseen_starts, key: job.plan.key, text: describe("no line", job)}
        ),
      else: []
  end

  ## What is expected

  defp expected(%Plan{cancel_after: nil, fault: fault}), do: expected(fault)
  defp expected(%Plan{fault: fault}), do: [:cancelled | expected(fault)]

  defp expected(nil), do: [:ok, :crashed | @circumstances]
  defp expected("fail"), do: [:failed, :crashed | @circumstances]
  defp expected("leak"), do: [:ok, :no_memory, :crashed | @circumstances]
  defp expected("stop_self"), do: [:ok, :crashed | @circumstances]
  defp expected("unknown_op"), do: [:unknown_op | @circumstances -- [:lost, :timed_out]]
  defp expected("bad_request"), do: [:bad_request, :crashed | @circumstances]
  defp expected("bad_args"), do: [:bad_args, :crashed | @circumstances]
  defp expected(_deadly_or_stuck), do: [:crashed | @circumstances]

  defp kind(%{result: {:ok, _value}}), do: :ok
  defp kind(%{result: {:error, %{kind: kind}}}), do: kind
  defp kind(_other), do: nil

  # A job that ran has written two lines, which takes more than no microsecond.
  defp never_ran?(:cancelled, {:error, %{receipt: %{ran_us: 0}}}), do: true
  defp never_ran?(_kind, _result), do: false

  # Whose own limits are short, or who was cancelled, may rightly not be tried again.
  defp has_time?(plan) do
    plan.cancel_after == nil and Keyword.take(plan.options, [:timeout, :queue_timeout]) == []
  end

  defp unseen?(%{details: details}) do
    ran_us = detail(details, :ran_us)
    detail(details, :state) == "running" and (ran_us == nil or ran_us < @moment_us)
  end

  # It was run again, by its error, and there is no line of that.
  defp rerun_unseen?(%{result: {:error, error}}),
    do: detail(error.details, :reruns) == 1 and unseen?(error)

  # A caller that has no answer at all does not know.
  defp gave_up?(%{details: details}), do: detail(details, :clock) == "limit"

  defp was_killed?(%{details: details}), do: detail(details, :signal) in ["SIGKILL", 9, :sigkill]

  defp disturbed?(job, context) do
    Enum.any?(job.starts, &MapSet.member?(context.disturbed, &1.pid))
  end

  # It died by a signal of its own, in a worker that nobody harmed and in which no other job did.
  defp crashed_alone?(%{plan: plan, starts: [start], ends: []}, context) do
    Plan.signal(plan.fault) != nil and not MapSet.member?(context.disturbed, start.pid) and
      context.harmful[start.pid] == MapSet.new([plan.key])
  end

  defp crashed_alone?(_job, _context), do: false

  defp missing_detail(fault, details) do
    signal = detail(details, :signal)
    backtrace = inspect(detail(details, :backtrace), limit: :infinity, printable_limit: :infinity)

    cond do
      signal != Plan.signal(fault) ->
        "the signal is #{inspect(signal)}, not #{Plan.signal(fault)}"

      fault == "stack" ->
        nil

      not (backtrace =~ "ledger_#{fault}") ->
        "no ledger_#{fault} in the backtrace"

      true ->
        nil
    end
  end

  defp detail(details, key), do: details[key] || details[Atom.to_string(key)]

  ## The report

  defp describe(wrong, job) do
    """
    #{wrong}
      plan     #{inspect(job.plan)}
      outcome  #{Enum.map_join(job.outcomes, "\n           ", &describe_outcome/1)}
      ledger   #{Enum.map_join(job.lines, "\n           ", & &1.text)}
    """
  end

  defp describe_outcome(%{result: {:error, error}} = outcome) do
    "#{outcome.at} #{error.kind}: #{error.message} #{inspect(Map.take(error, [:details, :receipt]), limit: 20)} " <>
      "after #{outcome.took_ms} ms"
  end

  defp describe_outcome(outcome), do: "#{outcome.at} #{inspect(outcome.result)}"

  defp ms(ns), do: div(ns, 1_000_000)
end
