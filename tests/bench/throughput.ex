defmodule Bench.Throughput do
  @moduledoc """
  Echoes of several sizes from several callers. Every round measures each subject once, one after the
  other, in an order that moves on from round to round: what else the machine does meets all of them.
  A ratio is the median of the ratios of the rounds.
  """

  alias Bench.{Load, Statistics}

  @mebibyte 1024 * 1024

  # A call as they usually are: a map of a few things, about 100 bytes encoded.
  @small %{"id" => 1234, "name" => "a small job", "data" => :binary.copy("x", 48)}

  @cases [
    %{key: "100 B, 1 caller", callers: 1, payload: @small, unit: :calls},
    %{key: "100 B, 16 callers", callers: 16, payload: @small, unit: :calls},
    %{key: "100 B, 128 callers", callers: 128, payload: @small, unit: :calls},
    %{key: "64 KiB, 16 callers", callers: 16, payload: 65_536, unit: :megabytes},
    %{key: "1 MiB, 1 caller", callers: 1, payload: @mebibyte, unit: :megabytes},
    %{key: "1 MiB, 4 callers", callers: 4, payload: @mebibyte, unit: :megabytes}
  ]

  @type outcome :: %{
          case: String.t(),
          unit: :calls | :megabytes,
          rates: %{Bench.Subject.key() => [float]},
          latencies: %{Bench.Subject.key() => %{p50: float, p99: float}}
        }

  @doc "All cases with that many rounds of so many ms each."
  @spec run([Bench.Subject.t()], pos_integer, pos_integer, (String.t() -> any)) :: [outcome]
  def run(subjects, rounds, ms, say) do
    for one <- @cases do
      say.(one.key)
      measure(one, subjects, rounds, ms)
    end
  end

  defp measure(one, subjects, rounds, ms) do
    Enum.each(subjects, &round(&1, one, div(ms, 4)))

    loads =
      for n <- 1..rounds, subject <- rotate(subjects, n) do
        {subject.key, round(subject, one, ms)}
      end
      |> Enum.group_by(&elem(&1, 0), &elem(&1, 1))

    %{
      case: one.key,
      unit: one.unit,
      rates: Map.new(loads, fn {key, loads} -> {key, Enum.map(loads, &rate(&1, one))} end),
      latencies: Map.new(loads, fn {key, loads} -> {key, latencies(loads)} end)
    }
  end

  defp rotate(subjects, n) do
    {first, last} = Enum.split(subjects, rem(n, length(subjects)))
    last ++ first
  end

  defp round(subject, one, ms) do
    payload = payload(one.payload, subject.key)
    echo = subject.echo
    Load.run(one.callers, ms, fn -> echo.(payload) end)
  end

  # The bare port knows bytes only.
  defp payload(bytes, _key) when is_integer(bytes), do: :binary.copy("x", bytes)
  defp payload(term, :bare), do: :erlang.term_to_binary(term)
  defp payload(term, _key), do: term

  defp rate(load, %{unit: :calls}), do: Load.calls_per_second(load)
  defp rate(load, %{payload: bytes}), do: Load.calls_per_second(load) * bytes / 1.0e6

  defp latencies(loads) do
    sorted = loads |> Enum.flat_map(& &1.latencies) |> Enum.sort()
    %{p50: Statistics.percentile(sorted, 50), p99: Statistics.percentile(sorted, 99)}
  end

  @doc "How many times as fast as the other, in the median of the rounds."
  @spec ratio(outcome, Bench.Subject.key(), Bench.Subject.key()) :: float
  def ratio(%{rates: rates}, subject, baseline) do
    Enum.zip_with(rates[subject], rates[baseline], &(&1 / &2)) |> Statistics.median()
  end
end
