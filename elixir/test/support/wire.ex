defmodule Stevedore.Wire do
  @moduledoc false
  # The worker program as bytes, for tests that write what no library would: a port without
  # `{packet, 4}`, which frames and reads by hand, in both codecs.

  import ExUnit.Assertions

  @vectors Path.expand("../../../proto/vectors", __DIR__)

  defstruct [:port, rest: <<>>, messages: [], skipped: ["log"]]

  @doc "The files of a kind in proto/vectors, without their extension."
  def cases(directory, extension) do
    for file <- Path.wildcard(Path.join([@vectors, directory, "*." <> extension])) |> Enum.sort() do
      Path.rootname(file)
    end
  end

  @doc "The bytes that `.hex` files and `> frame` lines write down."
  def bytes(text) do
    text
    |> String.replace(~r/#.*/, "")
    |> String.split()
    |> Enum.map(fn word ->
      case String.split(word, "*") do
        [hex] -> Base.decode16!(hex, case: :mixed)
        [hex, times] -> :binary.copy(Base.decode16!(hex, case: :mixed), String.to_integer(times))
      end
    end)
    |> IO.iodata_to_binary()
  end

  def frame(bytes), do: <<byte_size(bytes)::32, bytes::binary>>

  def open(args \\ []) do
    settings = [:binary, :exit_status, args: args]
    %__MODULE__{port: Port.open({:spawn_executable, Stevedore.PoolCase.program()}, settings)}
  end

  def skip(wire, tag), do: %{wire | skipped: [tag | wire.skipped]}

  def write(%__MODULE__{port: port} = wire, bytes) do
    Port.command(port, bytes)
    wire
  rescue
    # It has ended already, as it should with a broken stream.
    ArgumentError -> wire
  end

  @doc "The next message as JSON would have it, or `{:exit, code}`."
  def next(%__MODULE__{messages: [message | messages]} = wire) do
    {to_json(message), %{wire | messages: messages}}
  end

  def next(%__MODULE__{rest: <<size::32, frame::binary-size(size), rest::binary>>} = wire) do
    next(%{wire | rest: rest, messages: decode(frame)})
  end

  def next(%__MODULE__{port: port} = wire) do
    receive do
      {^port, {:data, bytes}} -> next(%{wire | rest: wire.rest <> bytes})
      {^port, {:exit_status, code}} -> {{:exit, code}, wire}
    after
      20_000 -> flunk("the worker says nothing more, and has not ended")
    end
  end

  @doc "All messages up to the end, and the exit code."
  def all(wire, messages \\ []) do
    case next(wire) do
      {{:exit, code}, _wire} -> {Enum.reverse(messages), code}
      {message, wire} -> all(wire, [message | messages])
    end
  end

  defp decode(<<131, _::binary>> = frame) do
    case :erlang.binary_to_term(frame, [:safe]) do
      elements when is_list(elements) -> Enum.flat_map(elements, &decode/1)
      message -> [message]
    end
  end

  defp decode(frame) do
    case msgpack(frame) do
      {[<<131, _::binary>> | _] = elements, ""} ->
        Enum.flat_map(elements, &decode/1)

      {[<<first, _::binary>> | _] = elements, ""} when first >= 0x90 ->
        Enum.flat_map(elements, &decode/1)

      {message, ""} ->
        [message]
    end
  end

  # PROTOCOL §9.2, as far as a worker sends it.
  defp msgpack(<<0xC0, rest::binary>>), do: {nil, rest}
  defp msgpack(<<0xC2, rest::binary>>), do: {false, rest}
  defp msgpack(<<0xC3, rest::binary>>), do: {true, rest}
  defp msgpack(<<0::1, int::7, rest::binary>>), do: {int, rest}
  defp msgpack(<<0b111::3, int::5, rest::binary>>), do: {int - 32, rest}
  defp msgpack(<<0xCC, int::8, rest::binary>>), do: {int, rest}
  defp msgpack(<<0xCD, int::16, rest::binary>>), do: {int, rest}
  defp msgpack(<<0xCE, int::32, rest::binary>>), do: {int, rest}
  defp msgpack(<<0xCF, int::64, rest::binary>>), do: {int, rest}
  defp msgpack(<<0xD0, int::signed-8, rest::binary>>), do: {int, rest}
  defp msgpack(<<0xD1, int::signed-16, rest::binary>>), do: {int, rest}
  defp msgpack(<<0xD2, int::signed-32, rest::binary>>), do: {int, rest}
  defp msgpack(<<0xD3, int::signed-64, rest::binary>>), do: {int, rest}
  defp msgpack(<<0xCB, float::float, rest::binary>>), do: {float, rest}
  defp msgpack(<<0b101::3, n::5, text::binary-size(n), rest::binary>>), do: {text, rest}
  defp msgpack(<<0xD9, n::8, text::binary-size(n), rest::binary>>), do: {text, rest}
  defp msgpack(<<0xDA, n::16, text::binary-size(n), rest::binary>>), do: {text, rest}
  defp msgpack(<<0xDB, n::32, text::binary-size(n), rest::binary>>), do: {text, rest}
  defp msgpack(<<0xC4, n::8, data::binary-size(n), rest::binary>>), do: {data, rest}
  defp msgpack(<<0xC5, n::16, data::binary-size(n), rest::binary>>), do: {data, rest}
  defp msgpack(<<0xC6, n::32, data::binary-size(n), rest::binary>>), do: {data, rest}
  defp msgpack(<<0x9::4, n::4, rest::binary>>), do: msgpack_items(rest, n)
  defp msgpack(<<0xDC, n::16, rest::binary>>), do: msgpack_items(rest, n)
  defp msgpack(<<0xDD, n::32, rest::binary>>), do: msgpack_items(rest, n)
  defp msgpack(<<0x8::4, n::4, rest::binary>>), do: msgpack_map(rest, n)
  defp msgpack(<<0xDE, n::16, rest::binary>>), do: msgpack_map(rest, n)
  defp msgpack(<<0xDF, n::32, rest::binary>>), do: msgpack_map(rest, n)

  defp msgpack_items(rest, 0), do: {[], rest}
  defp msgpack_items(rest, n), do: Enum.map_reduce(1..n, rest, fn _, rest -> msgpack(rest) end)

  defp msgpack_map(rest, n) do
    {items, rest} = msgpack_items(rest, 2 * n)
    {Map.new(Enum.chunk_every(items, 2), &List.to_tuple/1), rest}
  end

  defp to_json(term) when is_tuple(term), do: term |> Tuple.to_list() |> to_json()
  defp to_json([]), do: []
  defp to_json([head | tail]), do: [to_json(head) | to_json(tail)]
  defp to_json(%{} = map), do: Map.new(map, fn {key, value} -> {to_json(key), to_json(value)} end)
  defp to_json(atom) when atom in [nil, true, false], do: atom
  defp to_json(atom) when is_atom(atom), do: Atom.to_string(atom)
  defp to_json(term), do: term
end
