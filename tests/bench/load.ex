defmodule Bench.Load do
  @moduledoc """
  Callers in a closed loop: each calls, waits for its result, and calls again until the time is over.
  """

  defstruct [:calls, :ms, :latencies]

  @typedoc "Finished calls, how long that took, and how long each of them took in µs."
  @type t :: %__MODULE__{calls: non_neg_integer, ms: float, latencies: [float]}

  @doc "`call` has to return `{:ok, _}`; anything else ends the benchmark."
  @spec run(pos_integer, pos_integer, (-> {:ok, term})) :: t
  def run(callers, ms, call) do
    tasks = for _n <- 1..callers, do: Task.async(fn -> wait_and_loop(call, ms) end)
    began = now()
    Enum.each(tasks, &send(&1.pid, :go))
    latencies = tasks |> Task.await_many(:infinity) |> Enum.concat()
    elapsed = now() - began
    micro = Enum.map(latencies, &(System.convert_time_unit(&1, :native, :nanosecond) / 1000))

    %__MODULE__{
      calls: length(latencies),
      ms: System.convert_time_unit(elapsed, :native, :microsecond) / 1000,
      latencies: micro
    }
  end

  defp wait_and_loop(call, ms) do
    receive do
      :go ->
        start = now()
        loop(call, start, start + System.convert_time_unit(ms, :millisecond, :native), [])
    end
  end

  defp loop(_call, now, until, latencies) when now >= until, do: latencies

  defp loop(call, began, until, latencies) do
    {:ok, _value} = call.()
    ended = now()
    loop(call, ended, until, [ended - began | latencies])
  end

  @spec calls_per_second(t) :: float
  def calls_per_second(load), do: load.calls * 1000 / load.ms

  defp now, do: System.monotonic_time()
end
