defmodule Stevedore.Backoff do
  @moduledoc false
  # How long a pool waits before it starts the next worker in the place of one that died. Pure: the
  # Manager passes the time and the randomness in.
  #
  # The first death is answered at once, since a crash should not cost capacity. Deaths that follow
  # within `quiet` double the wait from `min` to `max`, with a jitter of a quarter so that pools
  # hurt by the same cause do not start in step. A quiet spell forgets everything.

  @enforce_keys [:min, :max]
  defstruct [:min, :max, :last, step: 0, quiet: 10_000]

  @type t :: %__MODULE__{
          min: pos_integer,
          max: pos_integer,
          last: integer | nil,
          step: non_neg_integer,
          quiet: pos_integer
        }

  @doc "Waits are between `min` and `max` milliseconds, after the first, which is none."
  @spec new(pos_integer, pos_integer) :: t
  def new(min, max), do: %__MODULE__{min: min, max: max}

  @doc """
  Notes a death at `now` (ms, monotonic) and returns how many milliseconds to wait. `random` is from
  0.0 up to 1.0.
  """
  @spec next(t, integer, float) :: {non_neg_integer, t}
  def next(backoff, now, random \\ :rand.uniform()) do
    step = if quiet?(backoff, now), do: 0, else: backoff.step
    delay = delay(backoff, step, random)
    # The wait itself is not quiet time.
    {delay, %{backoff | step: step + 1, last: now + delay}}
  end

  defp quiet?(%{last: nil}, _now), do: true
  defp quiet?(%{last: last, quiet: quiet}, now), do: now - last >= quiet

  defp delay(_backoff, 0, _random), do: 0

  defp delay(%{min: min, max: max}, step, random) do
    base = min(max, min * 2 ** min(step - 1, 30))
    jitter = base / 4 * (2 * random - 1)
    round(base + jitter) |> min(max) |> max(1)
  end
end
