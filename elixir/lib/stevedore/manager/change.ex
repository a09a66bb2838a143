defmodule Stevedore.Manager.Change do
  @moduledoc false
  # A planned replacement of one worker or of all, step by step: what is still to do and what is done. Pure.
  #
  # If a new worker does not get ready, a recycling is given up, and a restart goes the way back: those that
  # were replaced are replaced again, with the options of before.

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

  @doc "The new worker did not get ready: why, the pool's options, and what else is known of it."
  @spec fail(t, String.t(), map, details :: map) :: t
  def fail(change, text, current, details \\ %{})

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
