defmodule Stevedore.Whereabouts do
  @moduledoc false
  # Where the jobs are that have moved. A job is with the process that its caller has sent it to, unless there is a
  # row for it here: who hands a job on writes down to whom, and then sends it. So whoever wants something of a job
  # finds it without asking around; and if its holder is dead and the row still stands, it has died with the job. The
  # row also says who hands it on: that one may be killed before it has sent it.
  #
  # And which jobs were cancelled: who has a job is told, but may die before it hears of that, or with what it knew.
  #
  # Who settles a job removes its rows. Most jobs never move, and nothing of this is on their way.

  alias Stevedore.{Job, Ticket}

  @doc "Makes the pool's table, which belongs to the calling process."
  @spec new(atom) :: :ok
  def new(pool) do
    _table = :ets.new(table(pool), [:named_table, :public, write_concurrency: true])
    :ok
  end

  @doc "The calling process is about to send the job to this one, or has it, if it is the same."
  @spec note(Ticket.t(), pid) :: :ok
  def note(%Ticket{pool: pool, ref: ref, owner: owner}, holder) do
    with_table(fn -> :ets.insert(table(pool), {ref, holder, owner, self()}) end)
  end

  @doc "Who was to send the job to its holder and is dead: perhaps it never did."
  @spec dead_mover(atom, reference) :: pid | nil
  def dead_mover(pool, ref) do
    mover = :ets.lookup_element(table(pool), ref, 4, nil)
    if mover != nil and not Process.alive?(mover), do: mover
  rescue
    ArgumentError -> nil
  end

  @doc "The calling process does not have the job. If that dead one was to send it, it has died with it."
  @spec never_came(atom, reference, mover :: pid) :: :ok
  def never_came(pool, ref, mover) do
    here = self()

    with_table(fn ->
      case :ets.lookup(table(pool), ref) do
        [{^ref, ^here, owner, ^mover}] -> :ets.insert(table(pool), {ref, mover, owner, mover})
        _moved_or_settled -> true
      end
    end)
  end

  @doc "Somebody has asked for the job's end."
  @spec note_cancel(Job.t()) :: :ok
  def note_cancel(%Job{pool: pool, ref: ref, owner: owner, deadline: deadline}) do
    with_table(fn -> :ets.insert(table(pool), {{:cancelled, ref}, owner, deadline}) end)
  end

  @doc "Whether somebody has asked for its end."
  @spec cancelled?(atom, reference) :: boolean
  def cancelled?(pool, ref) do
    :ets.member(table(pool), {:cancelled, ref})
  rescue
    ArgumentError -> false
  end

  @doc "The job is settled."
  @spec forget(atom, reference) :: :ok
  def forget(pool, ref) do
    with_table(fn ->
      true = :ets.delete(table(pool), ref)
      :ets.delete(table(pool), {:cancelled, ref})
    end)
  end

  @doc "Who has the job, or died with it; `nil` if it has never moved, or is settled."
  @spec holder(atom, reference) :: pid | nil
  def holder(pool, ref) do
    :ets.lookup_element(table(pool), ref, 2, nil)
  rescue
    ArgumentError -> nil
  end

  @doc "Removes what nobody will: rows of jobs that died with their worker or had ended before, and that nobody waits for."
  @spec sweep(atom) :: :ok
  def sweep(pool) do
    for row <- :ets.tab2list(table(pool)), over?(row), do: :ets.delete(table(pool), elem(row, 0))
    :ok
  end

  defp over?({{:cancelled, _ref}, owner, deadline}),
    do: not Process.alive?(owner) or deadline <= System.monotonic_time()

  defp over?({_ref, holder, owner, _mover}),
    do: not Process.alive?(holder) and (owner == nil or not Process.alive?(owner))

  # Without a table the pool is gone, and nobody looks.
  defp with_table(change) do
    true = change.()
    :ok
  rescue
    ArgumentError -> :ok
  end

  defp table(pool), do: Module.concat(pool, Whereabouts)
end
