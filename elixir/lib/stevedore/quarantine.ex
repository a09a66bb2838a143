defmodule Stevedore.Quarantine do
  @moduledoc false
  # Which jobs have killed workers. Pure. A job is known by its fingerprint (op and arguments). When it
  # has caused `deaths` deaths within `window` ms it is quarantined for `for` ms: it is refused before it can kill
  # again. Only culprits are noted here; victims and planned ends never are.

  # More than that many different jobs are not remembered at once: the oldest give way.
  @max_suspects 1_000

  defstruct [:deaths, :window, :for, suspects: %{}, quarantined: %{}]

  @type fingerprint :: binary
  @type t :: %__MODULE__{
          deaths: pos_integer | :infinity,
          window: pos_integer,
          for: pos_integer,
          suspects: %{fingerprint => [integer]},
          quarantined: %{fingerprint => {op :: String.t(), until :: integer}}
        }

  @spec new(keyword | false) :: t
  def new(false), do: %__MODULE__{deaths: :infinity, window: 1, for: 1}
  def new(options), do: struct!(__MODULE__, options)

  @doc "Notes that a job killed a worker at `now` (ms)."
  @spec note(t, fingerprint, String.t(), integer) :: {:quarantined | :noted, t}
  def note(%{deaths: :infinity} = quarantine, _fingerprint, _op, _now), do: {:noted, quarantine}

  def note(quarantine, fingerprint, op, now) do
    recent =
      for at <- Map.get(quarantine.suspects, fingerprint, []),
          now - at < quarantine.window,
          do: at

    times = [now | recent]

    if length(times) >= quarantine.deaths do
      quarantined = Map.put(quarantine.quarantined, fingerprint, {op, now + quarantine.for})
      suspects = Map.delete(quarantine.suspects, fingerprint)
      {:quarantined, %{quarantine | suspects: suspects, quarantined: quarantined}}
    else
      suspects = quarantine.suspects |> make_room() |> Map.put(fingerprint, times)
      {:noted, %{quarantine | suspects: suspects}}
    end
  end

  defp make_room(suspects) when map_size(suspects) < @max_suspects, do: suspects

  defp make_room(suspects) do
    {oldest, _times} = Enum.min_by(suspects, fn {_fingerprint, [last | _]} -> last end)
    Map.delete(suspects, oldest)
  end

  @doc "Lifts the quarantine of one job, or of all."
  @spec release(t, fingerprint | :all) :: t
  def release(quarantine, :all), do: %{quarantine | suspects: %{}, quarantined: %{}}

  def release(quarantine, fingerprint) do
    %{
      quarantine
      | suspects: Map.delete(quarantine.suspects, fingerprint),
        quarantined: Map.delete(quarantine.quarantined, fingerprint)
    }
  end

  @doc "Those whose time is over at `now` are free again."
  @spec expire(t, integer) :: t
  def expire(quarantine, now) do
    kept = Map.filter(quarantine.quarantined, fn {_fingerprint, {_op, until}} -> until > now end)
    %{quarantine | quarantined: kept}
  end

  @doc "ms until the next one is free; `nil` if none is quarantined."
  @spec next_expiry(t, integer) :: non_neg_integer | nil
  def next_expiry(%{quarantined: quarantined}, _now) when map_size(quarantined) == 0, do: nil

  def next_expiry(%{quarantined: quarantined}, now) do
    soonest = quarantined |> Enum.map(fn {_fingerprint, {_op, until}} -> until end) |> Enum.min()
    max(0, soonest - now)
  end

  @doc "Why a quarantined job is refused."
  @spec refusal(until :: integer, now :: integer) :: Stevedore.Dispatch.refusal()
  def refusal(until, now) do
    left = max(0, until - now)

    {:quarantined,
     "this op with these arguments has killed workers repeatedly; it is refused for another #{left} ms " <>
       "(Stevedore.release/2 lifts that)", %{"retry_after_ms" => left}}
  end
end
