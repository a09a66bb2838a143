defmodule Stevedore.ProtocolTest do
  use ExUnit.Case, async: true

  alias Stevedore.Protocol

  defp call(id, op, args, options \\ []),
    do: %{
      id: id,
      body: Protocol.encode_call(op, args),
      options: Protocol.encode_options(options)
    }

  defp frame(calls), do: calls |> Protocol.requests() |> IO.iodata_to_binary()
  defp decode(frame), do: :erlang.binary_to_term(frame, [:safe])

  # A reply as the worker encodes it: the id always as tag 98 (PROTOCOL §5).
  defp reply({tag, id, third, fourth}) do
    <<131, 104, 4, encode(tag)::binary, 98, id::32, encode(third)::binary,
      encode(fourth)::binary>>
  end

  defp reply({tag, id, third, fourth, fifth}) do
    <<131, 104, 5, encode(tag)::binary, 98, id::32, encode(third)::binary, encode(fourth)::binary,
      encode(fifth)::binary>>
  end

  defp encode(term) do
    <<131, bytes::binary>> = :erlang.term_to_binary(term)
    bytes
  end

  defp batch(messages) do
    elements = for message <- messages, do: <<109, byte_size(message)::32, message::binary>>
    <<131, 108, length(messages)::32, IO.iodata_to_binary(elements)::binary, 106>>
  end

  describe "calls" do
    test "one call is a message (PROTOCOL §4.1)" do
      assert decode(frame([call(7, "digest", %{data: "x"})])) ==
               {:call, 7, "digest", %{data: "x"}, %{}}
    end

    test "options are left out unless they limit something" do
      options = [timeout: 5, queue_timeout: :infinity, progress: nil, priority: 0]

      assert {:call, 7, "op", nil, %{timeout: 5, priority: 0}} ==
               decode(frame([call(7, "op", nil, options)]))

      all = [
        timeout: 2_147_483_647,
        queue_timeout: 1,
        kill_after: 2_147_483_647,
        progress: 100,
        priority: 9
      ]

      assert {:call, 7, "op", nil, Map.new(all)} == decode(frame([call(7, "op", nil, all)]))
    end

    test "a job that moves has another queue_timeout, and all else as before" do
      all = [timeout: 5, queue_timeout: 1_000, kill_after: 7, progress: 100, priority: 9]

      for options <- [all, [queue_timeout: 1_000], [priority: 1, queue_timeout: 1_000]] do
        moved = options |> Protocol.encode_options() |> Protocol.put_queue_timeout(3)
        expected = Map.new(Keyword.put(options, :queue_timeout, 3))
        assert decode(<<131, moved::binary>>) == expected
      end
    end

    test "a plain call has no options" do
      assert decode(frame([Protocol.plain_call(0, "hello", nil)])) ==
               {:call, 0, "hello", nil, %{}}
    end

    test "several calls, the last one first, are a batch of them in order (PROTOCOL §3)" do
      messages = decode(frame([call(2_147_483_647, "b", [2]), call(1, "a", 1)]))

      assert Enum.map(messages, &decode/1) ==
               [{:call, 1, "a", 1, %{}}, {:call, 2_147_483_647, "b", [2], %{}}]
    end

    test "sizes are those of the frames, for small and large arguments" do
      for size <- [0, 10, 4_000, 5_000, 100_000] do
        call = call(1, "op", :binary.copy("x", size), timeout: 5, priority: 9)
        alone = byte_size(frame([call]))
        assert Protocol.call_size(call.body, call.options) == alone

        assert byte_size(frame([call, call])) ==
                 Protocol.batch_overhead() + 2 * Protocol.element_size(call)
      end
    end

    test "large binaries are not copied" do
      data = :crypto.strong_rand_bytes(100_000)
      {iodata, _size} = Protocol.encode_call("op", %{data: data})

      parts = :erlang.iolist_to_iovec(iodata)
      assert Enum.any?(parts, &(:binary.referenced_byte_size(&1) == 100_000))
    end

    test "an op is an atom or a binary of 1 to 255 bytes" do
      assert Protocol.op_name!(:digest) == "digest"
      assert Protocol.op_name!("digest") == "digest"

      for op <- ["", String.duplicate("x", 256), nil, true, 1, ~c"digest"] do
        assert_raise ArgumentError, ~r/an op must be/, fn -> Protocol.op_name!(op) end
      end
    end

    test "any arguments arrive as they were" do
      for seed <- 1..300 do
        :rand.seed(:exsss, {seed, 1, 1})
        args = random_term(4)
        assert {:call, 1, "op", ^args, %{}} = decode(frame([call(1, "op", args)]))
      end
    end
  end

  test "cancel and stop (PROTOCOL §4.2, §4.3)" do
    assert decode(Protocol.cancel(2_147_483_647)) == {:cancel, 2_147_483_647}
    assert decode(Protocol.stop(0)) == {:stop, 0}
    assert decode(Protocol.stop(86_400_000)) == {:stop, 86_400_000}
  end

  describe "frames from the worker" do
    test "one message, or the messages of a batch (PROTOCOL §3)" do
      a = reply({:ok, 1, "a", {0, 0, 0}})
      b = reply({:ok, 2, "b", {0, 0, 0}})
      assert Protocol.messages(a) == {:ok, [a]}
      assert Protocol.messages(batch([a, b])) == {:ok, [a, b]}
      assert Protocol.messages(batch([])) == {:ok, []}
    end

    test "a batch cut or lengthened anywhere is malformed" do
      whole = batch([reply({:ok, 1, "a", {0, 0, 0}}), reply({:ok, 2, "b", {0, 0, 0}})])

      for size <- 6..(byte_size(whole) - 1) do
        assert Protocol.messages(binary_part(whole, 0, size)) == :malformed
      end

      assert Protocol.messages(whole <> <<106>>) == :malformed
      <<131, 108, 2::32, rest::binary>> = whole
      assert Protocol.messages(<<131, 108, 3::32, rest::binary>>) == :malformed
      assert Protocol.messages(<<131, 108, 1::32, rest::binary>>) == :malformed
    end

    test "are routed by their first bytes (PROTOCOL §5)" do
      assert Protocol.route(reply({:ok, 5, "x", {0, 0, 0}})) == {:reply, 5}
      assert Protocol.route(reply({:error, 5, :failed, %{}, {0, 0, 0}})) == {:reply, 5}
      assert Protocol.route(reply({:progress, 5, 1, 2})) == {:progress, 5, 1, 2}

      for {message, routed} <- [
            {{:log, :info, "text"}, {:log, :info, "text", nil}},
            {{:log, :error, "text", 5}, {:log, :error, "text", 5}},
            {{:stuck, 5, 1_000, ["f+0x1 (m)"]}, {:stuck, 5, 1_000, ["f+0x1 (m)"]}},
            {{:stuck, 5, 1_000, []}, {:stuck, 5, 1_000, []}},
            {{:bye, :stop}, {:bye, :stop}},
            {{:bye, :eof}, {:bye, :eof}}
          ] do
        assert Protocol.route(:erlang.term_to_binary(message)) == routed
      end
    end

    test "anything else is malformed" do
      for term <- [
            :ok,
            {:ok, 1},
            {:error, nil, :bad_request, %{}, {0, 0, 0}},
            {:progress, 1, :half, 2},
            {:log, :notice, "text"},
            {:log, :info, :text},
            {:stuck, nil, 1_000, []},
            {:stuck, 5, 1_000},
            {:stuck, 5, 1_000, "f"},
            {:stuck, 5, :long, []},
            {:bye, :bye},
            {:hello, 1}
          ] do
        assert Protocol.route(:erlang.term_to_binary(term)) == :malformed
      end

      for bytes <- ["", <<131>>, <<131, 104>>, "text", <<0>>] do
        assert Protocol.route(bytes) == :malformed
      end
    end
  end

  describe "replies" do
    test "ok, error and progress" do
      receipt = %{queued_us: 1, ran_us: 2, cpu_us: 3}
      assert Protocol.decode_reply(reply({:ok, 5, [1], {1, 2, 3}})) == {:ok, [1], receipt}
      assert Protocol.decode_reply(reply({:progress, 5, 10, 0})) == {:progress, 10, 0}

      details = %{"message" => "m", "op" => "o"}

      assert Protocol.decode_reply(reply({:error, 5, :unknown_op, details, {1, 2, 3}})) ==
               {:error, :unknown_op, details, receipt}
    end

    test "any result arrives as it was" do
      for seed <- 1..300 do
        :rand.seed(:exsss, {seed, 2, 2})
        value = random_term(4)
        assert {:ok, ^value, _} = Protocol.decode_reply(reply({:ok, 5, value, {1, 2, 3}}))
      end
    end

    test "a large binary that fills its frame is not copied out of it" do
      data = :crypto.strong_rand_bytes(100_000)
      frame = reply({:ok, 5, data, {1, 2, 3}})
      assert {:ok, ^data = result, %{cpu_us: 3}} = Protocol.decode_reply(frame)
      assert :binary.referenced_byte_size(result) == byte_size(frame)
    end

    test "one that does not is" do
      {:ok, [message, _]} =
        Protocol.messages(
          batch(for n <- 1..2, do: reply({:ok, n, :binary.copy("x", 5_000), {1, 2, 3}}))
        )

      assert {:ok, result, _} = Protocol.decode_reply(message)
      assert :binary.referenced_byte_size(result) == 5_000
    end

    test "what could run code, grow without bound or make atoms is no reply (PROTOCOL §9)" do
      local = fn -> :ok end

      for value <- [
            local,
            &String.length/1,
            [local],
            %{a: {1, local}},
            %{local => 1},
            [1 | local]
          ] do
        assert Protocol.decode_reply(reply({:ok, 5, value, {1, 2, 3}})) == :malformed
      end

      compressed =
        :erlang.term_to_binary({:ok, 5, :binary.copy("x", 1_000), {1, 2, 3}}, [:compressed])

      assert <<131, 80, _::binary>> = compressed
      assert Protocol.decode_reply(compressed) == :malformed

      <<131, 104, 4, rest::binary>> = reply({:ok, 5, 1, {1, 2, 3}})
      assert {:ok, 1, _} = Protocol.decode_reply(<<131, 104, 4, rest::binary>>)
      assert Protocol.decode_reply(<<131, 104, 4, rest::binary, 0>>) == :malformed

      atom = "atom_of_this_test_#{System.unique_integer([:positive])}"

      message =
        <<131, 104, 4, 119, 2, "ok", 98, 5::32, 119, byte_size(atom), atom::binary, 104, 3, 97, 1,
          97, 1, 97, 1>>

      assert Protocol.decode_reply(message) == :malformed
    end

    test "cut anywhere it is malformed" do
      for whole <- [
            reply({:ok, 5, %{"a" => [1, 2]}, {1, 2, 3}}),
            reply({:ok, 5, :binary.copy("x", 5_000), {1, 2, 3}}),
            reply({:error, 5, :failed, %{"message" => "m"}, {1, 2, 3}})
          ],
          size <- 0..(byte_size(whole) - 1) do
        assert Protocol.decode_reply(binary_part(whole, 0, size)) == :malformed
      end
    end
  end

  defp random_term(0), do: random_leaf()

  defp random_term(depth) do
    case :rand.uniform(6) do
      1 -> for _ <- 1..:rand.uniform(4), do: random_term(depth - 1)
      2 -> List.to_tuple(for _ <- 1..:rand.uniform(4), do: random_term(depth - 1))
      3 -> Map.new(1..:rand.uniform(4), fn _ -> {random_leaf(), random_term(depth - 1)} end)
      _ -> random_leaf()
    end
  end

  defp random_leaf do
    case :rand.uniform(8) do
      1 -> :rand.uniform(1_000_000) - 500_000
      2 -> :rand.uniform(2 ** 80) - 2 ** 79
      3 -> :rand.normal()
      4 -> Enum.random([nil, true, false, :ok, :error, :ä])
      5 -> :rand.bytes(:rand.uniform(100))
      6 -> <<:rand.uniform(7)::3>>
      7 -> :rand.bytes(5_000)
      8 -> []
    end
  end
end
