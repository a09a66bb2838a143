defmodule Stevedore.TextTest do
  use ExUnit.Case, async: true

  alias Stevedore.Text

  test "durations" do
    for {us, text} <- [
          {0, "0 µs"},
          {999, "999 µs"},
          {1_000, "1 ms"},
          {1_250, "1.25 ms"},
          {99_940, "99.9 ms"},
          {99_960, "100 ms"},
          {999_499, "999 ms"},
          {999_500, "1 s"},
          {119_000_000, "119 s"},
          {120_000_000, "2 min"},
          {7_200_000_000, "2 h"},
          {172_800_000_000, "2 d"}
        ],
        do: assert(Text.duration(us) == text)
  end

  test "bytes and numbers" do
    for {bytes, text} <- [
          {0, "0 B"},
          {1023, "1023 B"},
          {1024, "1 KiB"},
          {1536, "1.5 KiB"},
          {3_446_711_910, "3.21 GiB"}
        ],
        do: assert(Text.bytes(bytes) == text)

    for {number, text} <- [
          {0, "0"},
          {0.5, "0.5"},
          {12.6, "13"},
          {999, "999"},
          {999.6, "1k"},
          {1_200, "1.2k"},
          {35_100_000, "35.1M"}
        ],
        do: assert(Text.number(number) == text)
  end

  test "whatever it is, it is short, and no number has more than four digits" do
    for _ <- 1..5_000 do
      value = trunc(:math.pow(10, :rand.uniform() * 14))

      for text <- [Text.duration(value), Text.bytes(value), Text.number(value)] do
        assert String.length(text) <= 9
        assert text =~ ~r/^\d{1,4}(\.\d{1,2})? ?[^\d]*$/u
        assert text |> String.replace(~r/[^\d]/, "") |> String.length() <= 4
      end
    end
  end
end
