defmodule Bench.Load do
  @moduledoc """
  Callers in a closed loop: each calls, waits for its result, and calls again until the time is over. Of one call in
  eight it keeps how long it took: a list of all of them is more for a caller's garbage collector to copy than what the
  calls themselves leave, and would be measured along.
  """

  defstruct [:calls, :ms, :latencies]

  # A power of two.
  @sample 8

  @typedoc "Finished calls, how long that took, and how long some of them took in µs."
  @type t :: %__MODULE__{calls: non_neg_integer, ms: float, latencies: [float]}

  @doc "`call` has to return `{:ok, _}`; anything else ends the benchmark."
  @spec run(pos_integer, pos_integer, (-> {:ok, term})) :: t
  def run(callers, ms, call) do
    tasks = for _n <- 1..callers, do: Task.async(fn -> wait_and_loop(call, ms) end)
    began = now()
    Enum.each(tasks, &send(&1.pid, :go))
    {calls, latencies} = tasks |> Task.await_many(:infinity) |> Enum.unzip()
    elapsed = now() - began
    latencies = Enum.concat(latencies)
    micro = Enum.map(latencies, &(System.convert_time_unit(&1, :native, :nanosecond) / 1000))

    %__MODULE__{
      calls: Enum.sum(calls),
      ms: System.convert_time_unit(elapsed, :native, :microsecond) / 1000,
      latencies: micro
    }
  end

  defp wait_and_loop(call, ms) do
    receive do
      :go ->
        start = now()
        loop(call, start, start + System.convert_time_unit(ms, :millisecond, :native), 0, [])
    end
  end

  defp loop(_call, now, until, calls, latencies) when now >= until, do: {calls, latencies}

  defp loop(call, began, until, calls, latencies) do
    {:ok, _value} = call.()
    ended = now()
    took = ended - began
    kept = if rem(calls, @sample) == 0, do: [took | latencies], else: latencies
    loop(call, ended, until, calls + 1, kept)
  end

  @spec calls_per_second(t) :: float
  def calls_per_second(load), do: load.calls * 1000 / load.ms

  defp now, do: System.monotonic_time()
end
