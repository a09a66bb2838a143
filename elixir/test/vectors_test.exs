defmodule Stevedore.VectorsTest do
  use ExUnit.Case, async: true

  # Every case of proto/vectors/valid and invalid: what the BEAM, the library and the worker program
  # make of the same bytes. The format is in proto/vectors/README.md.

  alias Stevedore.{Protocol, Wire}

  @stop Protocol.stop(0)

  defp load(path) do
    text = File.read!(path <> ".hex")
    {:ok, [found]} = :file.consult(~c"#{path}.term")
    {text, Wire.bytes(text), found}
  end

  test "there are some" do
    assert length(Wire.cases("valid", "hex")) > 50
    assert length(Wire.cases("invalid", "hex")) > 50
  end

  for path <- Wire.cases("valid", "hex") do
    test "valid #{Path.basename(path)}: the BEAM reads the same, the library writes the same" do
      {text, bytes, found} = load(unquote(path))

      unless text =~ "# frames" do
        read = read(bytes)

        if read,
          do: assert(agree?(normal(found), read), inspect({normal(found), read}, limit: 20))

        if written = write(found), do: assert(read(written) == normal(found))
      end
    end
  end

  for directory <- ["valid", "invalid"], path <- Wire.cases(directory, "hex") do
    test "#{directory} #{Path.basename(path)}: the worker answers as it should" do
      {text, bytes, found} = load(unquote(path))
      input = if text =~ "# frames", do: bytes, else: Wire.frame(bytes)
      found = flat(found)

      if :incomplete not in found do
        {messages, code} = Wire.open() |> Wire.write([input, Wire.frame(@stop)]) |> Wire.all()
        assert code == if(broken?(found), do: 65, else: 0)
        assert_answers(found, messages)
      end
    end
  end

  # A batch from MessagePack, and what it cannot say, is left to the worker.
  defp read(<<131, _::binary>> = bytes) do
    normal(:erlang.binary_to_term(bytes))
  rescue
    # Equal keys in a map, which the BEAM refuses at once and a worker when the job is about to run.
    ArgumentError -> nil
  end

  defp read(_msgpack), do: nil

  defp normal({:batch, found}), do: {:batch, Enum.map(found, &normal/1)}
  defp normal(batch) when is_list(batch), do: {:batch, Enum.map(batch, &read/1)}

  defp normal(message) when is_tuple(message) do
    case message |> put_elem(0, name(elem(message, 0))) do
      {"call", id, op, args} ->
        {"call", id, name(op), args, %{}}

      {"call", id, op, args, options} ->
        {"call", id, name(op), args, Map.new(options, fn {k, v} -> {name(k), v} end)}

      other ->
        other
    end
  end

  defp name(name) when is_atom(name), do: Atom.to_string(name)
  defp name(name), do: name

  defp agree?({"call", id, op, :_, options}, {"call", id, op, _args, options}), do: true

  defp agree?({:batch, expected}, {:batch, read}) do
    length(expected) == length(read) and
      Enum.all?(Enum.zip(expected, read), fn {a, b} -> b == nil or agree?(a, b) end)
  end

  defp agree?(expected, read), do: expected == read

  defp write({:call, _id, _op, :_, _options}), do: nil

  defp write({:call, id, op, args, options}) do
    options = Protocol.encode_options(Map.to_list(options))
    call = %{id: id, body: Protocol.encode_call(op, args), options: options}
    IO.iodata_to_binary(Protocol.requests([call]))
  end

  defp write({:cancel, id}), do: Protocol.cancel(id)
  defp write({:stop, grace}), do: Protocol.stop(grace)
  defp write(_other), do: nil

  defp flat({:batch, found}), do: Enum.flat_map(found, &flat/1)
  defp flat({:stream, found}), do: Enum.flat_map(found, &flat/1)
  defp flat(found), do: [found]

  defp broken?(found), do: Enum.any?(found, &match?({:broken, _}, &1))

  defp assert_answers(found, messages) do
    assert bad_requests(found) -- answered_bad(messages) == []
    terminal = for [tag, id | _] <- messages, tag in ["ok", "error"], do: id

    # Jobs that were running die with a broken stream.
    unless broken?(found) do
      calls = for {:call, id, _, _, _} <- found, do: id
      bad = for {:bad_request, id, _} <- found, do: name_id(id)
      assert Enum.sort(terminal) == Enum.sort(calls ++ bad)
    end
  end

  defp bad_requests(found), do: for({:bad_request, id, _text} <- found, do: name_id(id))
  defp answered_bad(messages), do: for(["error", id, "bad_request" | _] <- messages, do: id)

  defp name_id(nil), do: nil
  defp name_id(id), do: id
end
