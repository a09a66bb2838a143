defmodule Stevedore.Worker.Wear do
  @moduledoc false
  # When a worker has served long enough: after so many jobs, at some age, after a while without jobs, or when
  # its process has grown. The worker looks now and then, and asks the Manager for a replacement once; the
  # Manager replaces one at a time.

  alias Stevedore.Worker.{Host, InFlight}

  # ms between two looks at the number of jobs and the memory.
  @sample_every 1_000

  # Workers that started together do not go together.
  @jitter 0.1

  defstruct [
    :max_jobs,
    :max_rss,
    :kill_rss,
    :max_age,
    :max_idle,
    large: 0,
    taken_before: 0,
    asked: false
  ]

  @type t :: %__MODULE__{}
  @type sign :: :sample | :age | :idle

  @doc "For a worker that begins to serve: it is sent `{:wear, sign}` when there is something to look at."
  @spec new(map) :: t
  def new(options) do
    wear = %__MODULE__{
      max_jobs: jitter(options.max_jobs),
      max_rss: jitter(options.max_rss),
      kill_rss: options.kill_rss,
      max_age: jitter(options.max_age),
      max_idle: jitter(options.max_idle)
    }

    sample? = wear.max_jobs || wear.max_rss || wear.kill_rss
    _ = if sample?, do: later(:sample, @sample_every)
    _ = if wear.max_age, do: later(:age, wear.max_age)
    _ = if wear.max_idle, do: later(:idle, wear.max_idle)
    wear
  end

  defp jitter(nil), do: nil
  defp jitter(limit), do: max(1, round(limit * (1 - @jitter * :rand.uniform())))

  defp later(sign, ms), do: Process.send_after(self(), {:wear, sign}, ms)

  @doc "There was no replacement: it goes on, and asks again when there is a reason."
  @spec go_on(t) :: t
  def go_on(wear) do
    _ = if wear.max_age, do: later(:age, wear.max_age)
    %{wear | asked: false, large: 0}
  end

  @doc "What `{:wear, sign}` means now."
  @spec check(t, {:wear, sign}, pos_integer) :: {:fine, t} | {:worn, atom, t} | {:kill, atom}
  def check(wear, {:wear, :age}, _os_pid), do: ask(wear, :max_age)

  def check(wear, {:wear, :idle}, _os_pid) do
    _timer = later(:idle, wear.max_idle)
    taken = InFlight.taken()
    idle? = InFlight.size() == 0 and taken == wear.taken_before
    wear = %{wear | taken_before: taken}
    if idle? and taken > 0, do: ask(wear, :max_idle), else: {:fine, wear}
  end

  def check(wear, {:wear, :sample}, os_pid) do
    _timer = later(:sample, @sample_every)
    rss = (wear.max_rss || wear.kill_rss) && Host.rss(os_pid)
    wear = %{wear | large: if(over?(rss, wear.max_rss), do: wear.large + 1, else: 0)}

    cond do
      over?(rss, wear.kill_rss) -> {:kill, :kill_rss}
      wear.large >= 2 -> ask(wear, :max_rss)
      wear.max_jobs && InFlight.taken() >= wear.max_jobs -> ask(wear, :max_jobs)
      true -> {:fine, wear}
    end
  end

  defp over?(nil, _limit), do: false
  defp over?(_rss, nil), do: false
  defp over?(rss, limit), do: rss > limit

  defp ask(%{asked: true} = wear, _why), do: {:fine, wear}
  defp ask(wear, why), do: {:worn, why, %{wear | asked: true}}
end
