defmodule Stevedore.Manager.Change do
  @moduledoc false
  # A planned replacement of one worker or of all, step by step: what is still to do and what is done. Pure.
  #
  # If a new worker does not get ready, a recycling is given up, and a restart goes the way back: those that
  # were replaced are replaced again, with the options of before. A restart of a pool that drains, or has drained, has
  # nobody to replace: all workers are started (`starting`), and if one does not get ready, the pool is drained again.

  alias Stevedore.Error

  @enforce_keys [:why]
  defstruct [
    :why,
    :from,
    :options,
    :before,
    :old,
    :spare,
    :error,
    restart: false,
    starting: false,
    given_up: false,
    queue: [],
    done: []
  ]

  @type t :: %__MODULE__{}

  @doc "One worker has served long enough."
  @spec recycle(pid, atom) :: t
  def recycle(pid, why), do: %__MODULE__{why: why, queue: [pid]}

  @doc "All workers are to run with these options; `from` waits for the outcome."
  @spec restart(GenServer.from(), map) :: t
  def restart(from, options),
    do: %__MODULE__{why: :restart, from: from, options: options, restart: true}

  @doc "What it is about, now that it is its turn: `pids` are the pool's workers, `current` its options."
  @spec begin(t, [pid], map) :: t
  def begin(%{restart: true} = change, pids, current),
    do: %{change | queue: pids, before: current}

  def begin(change, _pids, current), do: %{change | options: current, before: current}

  @doc "The same of a restart if there is nobody to replace."
  @spec start(t, map) :: t
  def start(change, current), do: %{change | starting: true, before: current}

  @doc "The new worker did not get ready: why, the pool's options, and what else is known of it."
  @spec fail(t, String.t(), map, details :: map) :: t
  def fail(change, text, current, details \\ %{})

  def fail(%{starting: true} = change, text, _current, details),
    do: cut_short(change, "a worker did not start, the pool is drained again: #{text}", details)

  def fail(%{restart: true, error: nil} = change, text, _current, details) do
    error = %Error{
      kind: :unavailable,
      message:
        "a worker did not start with the new options, the old ones are in use again: #{text}",
      pool: change.before.name,
      details: details
    }

    %{
      change
      | error: error,
        options: change.before,
        queue: change.done,
        done: [],
        old: nil,
        spare: nil
    }
  end

  def fail(change, _text, _current, _details) do
    %{change | queue: [], old: nil, spare: nil, given_up: true}
  end

  @doc "The pool drains: what is not done will not be."
  @spec give_up(t) :: t
  def give_up(%{restart: true, error: nil} = change),
    do: cut_short(change, "the pool was drained before all its workers were replaced")

  def give_up(change), do: change

  defp cut_short(%{before: before} = change, message, details \\ %{}) do
    error = %Error{kind: :unavailable, message: message, pool: before.name, details: details}
    %{change | options: before, error: error}
  end

  @doc "Those of the pool's workers that a restart has passed over: they were started meanwhile, with other options."
  @spec catch_up(t, [{pid, map}]) :: t
  def catch_up(%{restart: true, given_up: false, queue: []} = change, workers) do
    generation = change.options.generation
    %{change | queue: for({pid, options} <- workers, options.generation != generation, do: pid)}
  end

  def catch_up(change, _workers), do: change

  @doc "The answer, when nothing is left to do."
  @spec finish(t) :: :ok | {:error, Error.t()}
  def finish(%{error: nil}), do: :ok
  def finish(%{error: error}), do: {:error, error}
end
