if Code.ensure_loaded?(Oban.Worker) do
  defmodule Stevedore.Oban.Settings do
    @moduledoc false
    # The options of `use Stevedore.Oban` that are not Oban's. A wrong one is an ArgumentError at compile time.

    alias Stevedore.{Oban.Outcome, Options, Protocol}

    @keys [:pool, :op, :call, :outcomes, :stall_timeout]
    @day 86_400_000

    # ms between two reports, if the call options say nothing: they may well end in a database.
    @progress_interval 1_000

    @enforce_keys [:pool, :op]
    defstruct [:pool, :op, :stall_timeout, call: [], outcomes: %{}]

    @type t :: %__MODULE__{
            pool: Stevedore.pool(),
            op: String.t(),
            call: keyword,
            outcomes: Outcome.t(),
            stall_timeout: pos_integer | nil
          }

    @doc "Takes our options out of those of a `use`, which may still be quoted."
    @spec split!(Macro.t()) :: {ours :: keyword, obans :: keyword}
    def split!(options) do
      if Keyword.keyword?(options),
        do: Keyword.split(options, @keys),
        else:
          raise(
            ArgumentError,
            "the options of `use Stevedore.Oban` must be written there, as a keyword list"
          )
    end

    @spec new!(keyword) :: t
    def new!(options) do
      Enum.each(options, &check!/1)
      call = options |> Keyword.get(:call, []) |> Options.checked_call!()
      stall = options[:stall_timeout]

      %__MODULE__{
        pool: required!(options, :pool),
        op: options |> required!(:op) |> Protocol.op_name!(),
        call: Keyword.put_new(call, :progress_interval, progress_interval(stall)),
        outcomes: options |> Keyword.get(:outcomes, []) |> Outcome.new!(),
        stall_timeout: stall
      }
    end

    defp progress_interval(nil), do: @progress_interval
    defp progress_interval(stall), do: stall |> div(4) |> max(1) |> min(@progress_interval)

    defp required!(options, key) do
      options[key] || raise ArgumentError, "`use Stevedore.Oban` needs #{inspect(key)}"
    end

    defp check!({:pool, pool})
         when pool not in [nil, true, false] and (is_atom(pool) or is_tuple(pool)),
         do: :ok

    defp check!({:op, op}) when is_atom(op) or is_binary(op), do: :ok
    defp check!({:outcomes, outcomes}) when is_list(outcomes), do: :ok
    defp check!({:stall_timeout, ms}) when is_nil(ms) or ms in 1..@day, do: :ok

    defp check!({:call, call}) when is_list(call) do
      if Keyword.keyword?(call) and Keyword.has_key?(call, :on_progress),
        do:
          raise(
            ArgumentError,
            "call option :on_progress is taken: define handle_progress/2 instead"
          )
    end

    defp check!({key, value}) do
      raise ArgumentError,
            "option #{inspect(key)} of `use Stevedore.Oban` cannot be #{inspect(value)}"
    end
  end
end
