defmodule Stevedore.SessionsTest do
  use ExUnit.Case, async: true

  # Plays proto/vectors/sessions in ETF. The format is in proto/vectors/README.md.

  alias Stevedore.{PoolCase, Wire}

  test "there are some" do
    assert length(Wire.cases("sessions", "session")) > 10
  end

  for path <- Wire.cases("sessions", "session") do
    test "session #{Path.basename(path)}" do
      lines = unquote(path <> ".session") |> File.read!() |> String.split("\n", trim: true)
      {comments, lines} = Enum.split_with(lines, &String.starts_with?(&1, "#"))

      unless "# codec: msgpack" in comments do
        play(group(lines), Wire.open(args(comments)))
      end
    end
  end

  defp args(comments) do
    Enum.flat_map(comments, fn
      "# options: " <> options -> String.split(options)
      "# plugin: " <> name -> ["--plugin", PoolCase.plugin(String.trim(name))]
      _comment -> []
    end)
  end

  # Lines with a tilde that follow each other are one step.
  defp group(lines) do
    Enum.chunk_while(
      lines,
      [],
      fn
        "~ " <> json, run -> {:cont, [JSON.decode!(json) | run]}
        line, [] -> {:cont, line, []}
        line, run -> {:cont, [run, line], []}
      end,
      fn
        [] -> {:cont, []}
        run -> {:cont, run, []}
      end
    )
    |> Enum.flat_map(fn
      [run, line] when is_list(run) and is_binary(line) -> [{:run, run}, line]
      run when is_list(run) -> [{:run, run}]
      line -> [line]
    end)
  end

  defp play([], _wire), do: :ok

  # A port cannot close stdin alone.
  defp play(["eof" | _rest], wire), do: Port.close(wire.port)

  defp play([step | rest], wire), do: play(rest, step(step, wire))

  defp step("skip " <> tag, wire), do: Wire.skip(wire, String.trim(tag))
  defp step("> frame " <> hex, wire), do: Wire.write(wire, Wire.frame(Wire.bytes(hex)))
  defp step("> bytes " <> hex, wire), do: Wire.write(wire, Wire.bytes(hex))

  defp step("> batch " <> json, wire) do
    batch = for message <- JSON.decode!(json), do: message(message)
    Wire.write(wire, Wire.frame(:erlang.term_to_binary(batch)))
  end

  defp step("> " <> json, wire) do
    Wire.write(wire, json |> JSON.decode!() |> message() |> Wire.frame())
  end

  defp step("< " <> json, wire) do
    expected = JSON.decode!(json)
    {actual, wire} = next(wire, [expected])
    assert like?(expected, actual), "expected #{json}, got #{inspect(actual)}"
    wire
  end

  defp step({:run, expected}, wire) do
    {[], wire} =
      Enum.reduce(expected, {expected, wire}, fn _, {left, wire} ->
        {actual, wire} = next(wire, left)
        found = Enum.find(left, &like?(&1, actual))
        assert found, "expected one of #{inspect(left)}, got #{inspect(actual)}"
        {List.delete(left, found), wire}
      end)

    wire
  end

  defp step("exit " <> code, wire) do
    {actual, wire} = next(wire, [])
    assert actual == {:exit, String.to_integer(String.trim(code))}
    wire
  end

  # A log, and what the session names, is skipped where it is not expected.
  defp next(wire, expected) do
    case Wire.next(wire) do
      {[tag | _] = message, wire} ->
        expected? = Enum.any?(expected, &match?([^tag | _], &1))
        if tag in wire.skipped and not expected?, do: next(wire, expected), else: {message, wire}

      exit ->
        exit
    end
  end

  defp message([tag | rest]), do: :erlang.term_to_binary(List.to_tuple([tag | rest]))

  defp like?("_", _actual), do: true
  defp like?("~" <> text, actual) when is_binary(actual), do: actual =~ text

  defp like?([expected | more], [actual | rest]),
    do: like?(expected, actual) and like?(more, rest)

  defp like?(%{} = expected, %{} = actual) do
    {open, expected} = Map.pop(expected, "...")

    Enum.all?(expected, fn {key, value} ->
      is_map_key(actual, key) and like?(value, actual[key])
    end) and
      (open != nil or map_size(expected) == map_size(actual))
  end

  defp like?(expected, actual), do: expected === actual
end
