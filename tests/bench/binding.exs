# Jobs sent at once and taken back, as the library does it, against late binding (`late.ex`): decision 0008.
#
#     cd elixir && MIX_ENV=prod mix run ../tests/bench/binding.exs [ROUNDS]
#
# Two workers with two threads each. `small`: 128 callers, nothing but small jobs that run on the threads. `mixed`: 16
# callers, one job in ten holds a thread for 20 ms; what is measured is how long the small ones take.

for file <- ~w(statistics load late), do: Code.require_file("#{file}.ex", __DIR__)

defmodule Bench.Binding do
  alias Bench.{Late, Load, Statistics}

  @small %{algorithm: "crc32", data: "a small job"}
  @pool [workers: 2, threads: 2]

  def main([]), do: main(["15"])

  def main([rounds]) do
    {:ok, _} = Stevedore.start_link([name: Bench.Early] ++ @pool)
    program = Application.app_dir(:stevedore, "priv/stevedore")
    {:ok, _} = Late.start_link([name: Late, executable: program] ++ @pool)
    subjects = [early: &Stevedore.call(Bench.Early, &1, &2), late: &Late.call(Late, &1, &2)]
    rounds = String.to_integer(rounds)
    for {_key, call} <- subjects, do: small(call)

    report("small: calls a second", measure(rounds, subjects, &small/1), &Load.calls_per_second/1)
    mixed = measure(rounds, subjects, &mixed/1)
    report("mixed: p50 of the small ones, µs", mixed, &percentile(&1, 50))
    report("mixed: p99 of the small ones, µs", mixed, &percentile(&1, 99))
    report("mixed: small ones a second", mixed, &(length(&1) / 0.4))
  end

  defp measure(rounds, subjects, run) do
    for _ <- 1..rounds, {key, call} <- Enum.shuffle(subjects), do: {key, run.(call)}
  end

  defp small(call), do: Load.run(128, 200, fn -> call.("digest", @small) end)

  # The latencies of the small ones, in µs.
  defp mixed(call) do
    until = System.monotonic_time(:millisecond) + 400

    1..16
    |> Enum.map(fn n -> Task.async(fn -> mix(call, until, n, []) end) end)
    |> Task.await_many(:infinity)
    |> Enum.concat()
  end

  defp mix(call, until, n, latencies) do
    began = System.monotonic_time()

    cond do
      System.monotonic_time(:millisecond) >= until ->
        latencies

      rem(n, 10) == 0 ->
        {:ok, nil} = call.("sleep", %{ms: 20})
        mix(call, until, n + 1, latencies)

      true ->
        {:ok, _crc} = call.("digest", @small)
        took = System.convert_time_unit(System.monotonic_time() - began, :native, :nanosecond)
        mix(call, until, n + 1, [took / 1000 | latencies])
    end
  end

  defp percentile(latencies, percent),
    do: latencies |> Enum.sort() |> Statistics.percentile(percent)

  defp report(title, rounds, figure) do
    of = for {key, run} <- rounds, do: {key, figure.(run)}
    [early, late] = for key <- [:early, :late], do: Statistics.median(for {^key, n} <- of, do: n)

    IO.puts(
      "#{title}: early #{round(early)}, late #{round(late)}, early / late #{Float.round(early / late, 2)}"
    )
  end
end

Bench.Binding.main(System.argv())
