defmodule Chaos.Book do
  @moduledoc """
  What the driver's side notes while it goes on: plans before they are carried out, outcomes after, and
  who was killed or disturbed. An ETS table, since those who write to it are killed.
  """

  alias Chaos.{Ledger, Plan}

  @type t :: :ets.tid()

  @spec open() :: t
  def open, do: :ets.new(:chaos_book, [:public, :duplicate_bag, write_concurrency: true])

  @spec close(t) :: true
  def close(book), do: :ets.delete(book)

  @spec plan(t, Plan.t()) :: true
  def plan(book, plan), do: :ets.insert(book, {:plan, plan})

  @doc "The result of a job that was asked for at `since` and may take `limit_ms`."
  @spec outcome(t, Plan.t(), integer, integer, term) :: true
  def outcome(book, plan, since, limit_ms, result) do
    now = Ledger.now()
    took_ms = div(now - since, 1_000_000)
    outcome = %{result: result, at: now, took_ms: took_ms, limit_ms: limit_ms}
    :ets.insert(book, {:outcome, plan.key, outcome})
  end

  @doc "Its result will not be asked for."
  @spec abandoned(t, Plan.t()) :: true
  def abandoned(book, plan), do: :ets.insert(book, {:abandoned, plan.key})

  @spec caller(t, pid, integer) :: true
  def caller(book, pid, index), do: :ets.insert(book, {:caller, pid, index})

  @doc "A caller that is about to be killed."
  @spec killed(t, integer) :: true
  def killed(book, index), do: :ets.insert(book, {:killed, index})

  @doc "What is about to be done, and the OS process of the worker to which it is done."
  @spec disturbed(t, integer | nil, atom) :: true
  def disturbed(book, os_pid, how), do: :ets.insert(book, {:disturbed, os_pid, how})

  @doc "Something is wrong that the ledger does not show."
  @spec violation(t, atom, String.t()) :: true
  def violation(book, check, text) do
    :ets.insert(book, {:violation, %{check: check, key: nil, text: text}})
  end

  @doc "Something worth telling that is not wrong in itself."
  @spec note(t, String.t()) :: true
  def note(book, text), do: :ets.insert(book, {:note, text})

  @spec notes(t) :: [String.t()]
  def notes(book), do: for({:note, text} <- :ets.lookup(book, :note), do: text)

  @spec callers(t) :: [{pid, integer}]
  def callers(book),
    do: for({:caller, pid, index} <- :ets.lookup(book, :caller), do: {pid, index})

  @spec disturbances(t) :: [{integer | nil, atom}]
  def disturbances(book),
    do: for({_, os_pid, how} <- :ets.lookup(book, :disturbed), do: {os_pid, how})

  @spec violations(t) :: [Chaos.Judge.violation()]
  def violations(book), do: for({_, violation} <- :ets.lookup(book, :violation), do: violation)

  @doc "All of it, for the judge."
  @spec evidence(t, [Ledger.line()]) :: Chaos.Judge.evidence()
  def evidence(book, ledger) do
    outcomes = for {_, key, outcome} <- :ets.lookup(book, :outcome), do: {key, outcome}

    %{
      plans: for({_, plan} <- :ets.lookup(book, :plan), do: plan),
      outcomes: Enum.group_by(outcomes, &elem(&1, 0), &elem(&1, 1)),
      ledger: ledger,
      abandoned: for({_, key} <- :ets.lookup(book, :abandoned), into: MapSet.new(), do: key),
      killed: for({_, index} <- :ets.lookup(book, :killed), into: MapSet.new(), do: index),
      disturbed: for({os_pid, _how} <- disturbances(book), into: MapSet.new(), do: os_pid),
      blame: true,
      rerun_ms: 1_000
    }
  end
end
