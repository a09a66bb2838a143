if Code.ensure_loaded?(Oban.Worker) do
  defmodule Stevedore.Oban.Outcome do
    @moduledoc """
    What becomes of an Oban job whose native job had no result: one table, from the error's kind to an action.

    #{Stevedore.Oban.OutcomeTable.docs()}

    `drained` is a `:cancelled` with `details["clock"]` = `"drain_timeout"`: nobody has cancelled the job, its worker had
    to go (recycling, a rolling restart, a drain) before the job was done. A worker module changes entries by name:

        use Stevedore.Oban,
          pool: MyApp.Native,
          op: "zstd.compress",
          outcomes: [lost: :error, quarantined: :snooze, overloaded: {:snooze, first: 30, most: 600, times: 10}]

    and decides about a single error in `c:Stevedore.Oban.handle_error/2`.

    ## Actions

      * `:error`: the attempt counts, and Oban's back-off and `max_attempts` decide about the next
      * `:cancel`: the job ends, with the reason in its `errors`
      * `{:snooze, first: seconds, most: seconds, times: count}`: the attempt does not count, and the job is tried again.
        The delay starts with `first`, doubles with each snooze up to `most`, and between a half and all of it is taken, by
        chance. If the error says `retry_after_ms` it is at least that. `:snooze` is the entry's own default

    ## No snooze is endless

    Oban counts in `meta["snoozed"]` how often a job has been snoozed, for whatever reason. Where the count has reached `times`,
    the same error is an `:error`: attempts count from then on, so the job runs at most `times` + `max_attempts` times and is
    `discarded` in the end, with what was wrong in its errors. A pool that never comes back is given up after hours, not never.
    A job that is `lost` again and again may be the one that kills (out of memory, say, which names nobody), so `lost`
    forgives least.
    """

    alias Stevedore.{Error, Oban.OutcomeTable}

    @type action :: :error | :cancel | {:snooze, keyword(pos_integer)}
    @type key :: Error.kind() | :drained
    @type t :: %{key => action}

    @doc "All entries, those changed that `overrides` names. Raises `ArgumentError` for what cannot be."
    @spec new!(keyword) :: t
    def new!(overrides) do
      defaults = for {key, action, _why} <- OutcomeTable.rows(), into: %{}, do: {key, action}
      Enum.reduce(overrides, defaults, &override!/2)
    end

    defp override!({key, action}, outcomes) when is_map_key(outcomes, key) do
      %{outcomes | key => action!(action, key, outcomes[key])}
    end

    defp override!(other, outcomes) do
      known = outcomes |> Map.keys() |> Enum.sort() |> Enum.map_join(", ", &inspect/1)

      raise ArgumentError,
            "unknown outcome #{inspect(other)}: it must be {key, action} with one of #{known}"
    end

    defp action!(action, _key, _default) when action in [:error, :cancel], do: action
    defp action!(:snooze, _key, {:snooze, _options} = default), do: default
    defp action!(:snooze, _key, _default), do: OutcomeTable.snooze()

    defp action!({:snooze, options} = action, key, _default) when is_list(options) do
      if Enum.sort(Keyword.keys(options)) == [:first, :most, :times] and
           Enum.all?(options, fn {_key, value} -> is_integer(value) and value > 0 end),
         do: action,
         else: wrong!(key, action)
    end

    defp action!(action, key, _default), do: wrong!(key, action)

    defp wrong!(key, action) do
      raise ArgumentError,
            "outcome #{inspect(key)} must be :error, :cancel, :snooze or {:snooze, first: seconds, most: seconds, " <>
              "times: count}, got: #{inspect(action)}"
    end

    @doc "The entry that is about this error."
    @spec key(Error.t()) :: key
    def key(%Error{kind: :cancelled, details: %{"clock" => "drain_timeout"}}), do: :drained
    def key(%Error{kind: kind}), do: kind

    @doc "What to do about this error."
    @spec action(Error.t(), t) :: action
    def action(%Error{} = error, outcomes), do: Map.fetch!(outcomes, key(error))

    @doc """
    The action of a job that has been snoozed so often already: `{:snooze, seconds}`, `:cancel`, `:error`, or
    `{:error, note}` if it was to be snoozed once too often. `chance` is a number from 0 to 1.
    """
    @spec decide(action, Error.t(), snoozed :: non_neg_integer, chance :: float) ::
            {:snooze, pos_integer} | :cancel | :error | {:error, String.t()}
    def decide({:snooze, options}, error, snoozed, chance) do
      if snoozed < options[:times],
        do: {:snooze, max(delay(options, snoozed, chance), retry_after(error))},
        else: {:error, "snoozed #{snoozed} times already, so it counts as an attempt"}
    end

    def decide(action, _error, _snoozed, _chance), do: action

    # 2^20 seconds are twelve days.
    defp delay(options, snoozed, chance) do
      longest = min(options[:most], options[:first] * Integer.pow(2, min(snoozed, 20)))
      max(1, round(longest * (1 + chance) / 2))
    end

    defp retry_after(%Error{details: %{"retry_after_ms" => ms}}) when is_integer(ms),
      do: ceil(ms / 1_000)

    defp retry_after(_error), do: 0
  end
end
