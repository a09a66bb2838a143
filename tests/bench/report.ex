defmodule Bench.Report do
  @moduledoc "The outcomes as tables, the targets with a mark, and all of it as JSON."

  alias Bench.{Soak, Throughput}

  # {case, subject, baseline, the least ratio}
  @targets [
    # A pool has two workers unless told otherwise.
    {"100 B, 128 callers", :stevedore_2, :classic, 1.6},
    {"1 MiB, 1 caller", :stevedore_1, :bare, 0.8},
    {"1 MiB, 4 callers", :stevedore_1, :bare, 0.8}
  ]

  @type target :: %{text: String.t(), ratio: float | nil, least: float | nil, met: boolean}

  @doc "What the outcomes are held to."
  @spec targets([Throughput.outcome()], [Soak.outcome()]) :: [target]
  def targets(throughput, soaks) do
    Enum.map(@targets, &ratio_target(&1, throughput)) ++ Enum.map(soaks, &soak_target/1)
  end

  defp ratio_target({name, subject, baseline, least}, throughput) do
    ratio = throughput |> Enum.find(&(&1.case == name)) |> Throughput.ratio(subject, baseline)
    text = "#{name}: #{subject} at least #{least} of #{baseline}"
    %{text: text, ratio: ratio, least: least, met: ratio >= least}
  end

  defp soak_target(soak) do
    text = "#{soak.calls} calls: #{soak.subject} has all replies right and leaves no process"
    %{text: text, ratio: nil, least: nil, met: Soak.good?(soak)}
  end

  @spec print(map, [Bench.Subject.t()]) :: :ok
  def print(outcome, subjects) do
    keys = Enum.map(subjects, & &1.key)
    titles = Map.new(subjects, &{&1.key, &1.title})
    heads = Enum.map(keys, &titles[&1])

    table(
      "Throughput (calls a second, or MB a second each way; medians)",
      ["" | heads] ++ ["× 1 / Classic", "× 1 / bare", "× 2 / Classic"],
      Enum.map(outcome.throughput, &throughput_row(&1, keys))
    )

    table(
      "Latency (µs, p50 / p99)",
      ["" | heads],
      Enum.map(outcome.throughput, &latency_row(&1, keys))
    )

    table(
      "Start and restart (ms, medians)",
      ["", "start to first reply", "kill -9 to next good reply"],
      for(one <- outcome.restarts, do: restart_row(one, titles))
    )

    table(
      "Many checked calls",
      ["", "calls", "wrong", "lost", "processes", "BEAM MB", "worker MB"],
      for(one <- outcome.soaks, do: soak_row(one, titles))
    )

    table("Targets", ["", "", "measured"], Enum.map(outcome.targets, &target_row/1))
    print_others(outcome.others)
  end

  defp print_others(nil), do: :ok

  defp print_others(share) do
    advice =
      if share > 0.1, do: ": too much for a claim, measure again when it is quiet", else: ""

    IO.puts(
      "\nOthers used #{round(100 * share)} % of this machine's processors meanwhile#{advice}."
    )
  end

  defp throughput_row(one, keys) do
    rates = for key <- keys, do: number(Bench.Statistics.median(one.rates[key]))

    ratios =
      for {subject, baseline} <- [
            stevedore_1: :classic,
            stevedore_1: :bare,
            stevedore_2: :classic
          ] do
        decimals(Throughput.ratio(one, subject, baseline), 2)
      end

    [one.case | rates ++ ratios]
  end

  defp latency_row(one, keys) do
    [one.case | for(key <- keys, do: latency(one.latencies[key]))]
  end

  defp latency(%{p50: p50, p99: p99}), do: "#{number(p50)} / #{number(p99)}"

  defp restart_row(one, titles) do
    [titles[one.subject], decimals(one.first_reply_ms, 1), decimals(one.after_kill_ms, 1)]
  end

  defp soak_row(%{before: before, after: later} = one, titles) do
    [
      titles[one.subject],
      number(one.calls),
      number(one.wrong),
      number(one.lost),
      "#{before.processes} → #{later.processes}",
      "#{megabytes(before.beam_bytes)} → #{megabytes(later.beam_bytes)}",
      "#{megabytes(before.worker_kib * 1024)} → #{megabytes(later.worker_kib * 1024)}"
    ]
  end

  defp target_row(target) do
    mark = if target.met, do: "met", else: "MISSED"
    [target.text, mark, if(target.ratio, do: decimals(target.ratio, 2), else: "")]
  end

  defp number(value) when value < 100 and is_float(value), do: decimals(value, 1)

  defp number(value) do
    value |> round() |> Integer.to_string() |> String.replace(~r/(?<=\d)(?=(\d{3})+$)/, ",")
  end

  defp decimals(value, decimals), do: :erlang.float_to_binary(value / 1, decimals: decimals)
  defp megabytes(bytes), do: decimals(bytes / 1.0e6, 1)

  # The first column to the left, numbers to the right.
  defp table(title, heads, rows) do
    widths = [heads | rows] |> Enum.zip_with(& &1) |> Enum.map(&column_width/1)
    IO.puts("\n#{title}\n")

    Enum.each([heads | rows], fn [first | others] ->
      [width | other_widths] = widths
      cells = Enum.zip_with(others, other_widths, &String.pad_leading/2)
      IO.puts("  " <> Enum.join([String.pad_trailing(first, width) | cells], "   "))
    end)
  end

  defp column_width(cells), do: cells |> Enum.map(&String.length/1) |> Enum.max()

  @doc "Everything that was measured, round by round."
  @spec write_json(map, Path.t()) :: :ok
  def write_json(outcome, path), do: File.write!(path, [JSON.encode_to_iodata!(outcome), "\n"])
end
