defmodule Stevedore.Protocol do
  @moduledoc false
  # Messages as bytes and back; pure. Sections are those of proto/PROTOCOL.md.
  #
  # The work is divided by who does it. The caller encodes op and arguments (`encode_call/2`) and
  # decodes its own reply (`decode_reply/1`); the worker puts ids and batches around the one
  # (`requests/1`) and routes the other by its first bytes (`messages/1`, `route/1`), so that the
  # process all jobs pass through never builds a term out of them.

  alias Stevedore.Error

  @version 1

  # From here on arguments go out by reference (term_to_iovec) and binary results may come in as a part
  # of their frame: below, a copy is cheaper.
  @large 4096

  # `131, 104, 5, 119, 4, "call", 98, Id:32` in front of what the caller encoded.
  @call_header 14
  @batch_overhead 7
  @element_overhead 5

  @no_options <<116, 0::32>>

  # The tag of a compressed term.
  @compressed 80

  @kinds Error.kinds()

  @type id :: 0..2_147_483_647
  @type message :: binary
  @typedoc "Op and arguments of a call: flat if they are small, with their size if they are large."
  @type body :: binary | {iodata, non_neg_integer}

  @typedoc "A call that has an id, such as a ticket."
  @type call :: %{:id => id, :body => body, :options => binary, optional(any) => any}

  @type routed ::
          {:reply, id}
          | {:progress, id, done :: integer, total :: integer}
          | {:log, Logger.level(), String.t(), id | nil}
          | {:stuck, id, ran_us :: integer, stack :: [String.t()]}
          | {:bye, :stop | :eof}
          | :malformed

  @type reply ::
          {:ok, term, Error.receipt()}
          | {:error, Error.kind(), details :: map, Error.receipt()}
          | {:progress, done :: integer, total :: integer}
          | :malformed

  @doc "The version of the protocol that this module speaks (§6, `hello`)."
  @spec version() :: pos_integer
  def version, do: @version

  ## Host to worker

  @doc "Op and arguments, as they follow the id in `{call, Id, Op, Args, Opts}` (§4.1)."
  @spec encode_call(binary, term) :: body
  def encode_call(op, args) do
    if :erlang.external_size(args) < @large do
      # A tuple of the two has them in a row, as a call does.
      <<131, 104, 2, body::binary>> = :erlang.term_to_binary({op, args})
      body
    else
      [<<131, first::binary>> | rest] = :erlang.term_to_iovec(args)
      body = [<<109, byte_size(op)::32, op::binary>>, first | rest]
      {body, IO.iodata_length(body)}
    end
  end

  @doc """
  The options of a call (§4.1): `:timeout`, `:queue_timeout`, `:kill_after`, `:progress` and `:priority`.
  Those that are `nil` or `:infinity` are left out.
  """
  @spec encode_options(keyword) :: binary
  def encode_options(options) do
    pairs = for {key, value} <- options, value not in [nil, :infinity], do: option(key, value)
    IO.iodata_to_binary([<<116, length(pairs)::32>> | pairs])
  end

  defp option(:timeout, ms), do: <<119, 7, "timeout", 98, ms::32>>
  defp option(:queue_timeout, ms), do: <<119, 13, "queue_timeout", 98, ms::32>>
  defp option(:kill_after, ms), do: <<119, 10, "kill_after", 98, ms::32>>
  defp option(:progress, ms), do: <<119, 8, "progress", 98, ms::32>>
  defp option(:priority, priority), do: <<119, 8, "priority", 97, priority>>

  @queue_timeout <<119, 13, "queue_timeout", 98>>

  @doc "The same options with another `queue_timeout`, if they have one."
  @spec put_queue_timeout(binary, pos_integer) :: binary
  def put_queue_timeout(options, ms) do
    case :binary.split(options, @queue_timeout) do
      [before, <<_old::32, others::binary>>] ->
        <<before::binary, @queue_timeout::binary, ms::32, others::binary>>

      [_without] ->
        options
    end
  end

  @doc "A call without options, such as of a control op (§6)."
  @spec plain_call(id, String.t(), term) :: call
  def plain_call(id, op, args), do: %{id: id, body: encode_call(op, args), options: @no_options}

  @doc "Bytes that a call takes in a frame of its own."
  @spec call_size(body, binary) :: pos_integer
  def call_size({_iodata, size}, options), do: @call_header + size + byte_size(options)
  def call_size(body, options), do: @call_header + byte_size(body) + byte_size(options)

  @doc "Bytes that a call adds to a batch (§3)."
  @spec element_size(call) :: pos_integer
  def element_size(%{body: body, options: options}) do
    @element_overhead + call_size(body, options)
  end

  @doc "Bytes of an empty batch."
  @spec batch_overhead() :: pos_integer
  def batch_overhead, do: @batch_overhead

  @doc "The frame that carries these calls, the last one first: one as itself, several as a batch (§3)."
  @spec requests([call, ...]) :: iodata
  def requests([%{id: id} = call]), do: [<<131, 104, 5, 119, 4, "call", 98, id::32>> | rest(call)]

  def requests(calls) do
    {elements, count} =
      Enum.reduce(calls, {[106], 0}, fn call, {elements, count} ->
        {[element(call) | elements], count + 1}
      end)

    [<<131, 108, count::32>> | elements]
  end

  # Both headers in one: this is built once for each call.
  defp element(%{id: id, body: body, options: options} = call) do
    size = call_size(body, options)
    [<<109, size::32, 131, 104, 5, 119, 4, "call", 98, id::32>> | rest(call)]
  end

  defp rest(%{body: {iodata, _size}, options: options}), do: [iodata | options]
  defp rest(%{body: body, options: options}), do: [body | options]

  @doc "`{cancel, Id}` (§4.2)."
  @spec cancel(id) :: binary
  def cancel(id), do: <<131, 104, 2, 119, 6, "cancel", 98, id::32>>

  @doc "`{stop, GraceMs}` (§4.3)."
  @spec stop(non_neg_integer) :: binary
  def stop(grace_ms), do: <<131, 104, 2, 119, 4, "stop", 98, grace_ms::32>>

  @doc "The op as a binary; an atom is one, too."
  @spec op_name!(atom | binary) :: binary
  def op_name!(op) when is_binary(op) and byte_size(op) in 1..255, do: op
  def op_name!(op) when is_atom(op) and op not in [nil, true, false], do: Atom.to_string(op)

  def op_name!(op) do
    raise ArgumentError,
          "an op must be an atom or a binary of 1 to 255 bytes, got: #{inspect(op)}"
  end

  ## Worker to host

  @doc "The messages of a frame, undecoded: those of a batch (§3), or the frame itself."
  @spec messages(binary) :: {:ok, [message]} | :malformed
  def messages(<<131, 108, count::32, elements::binary>>), do: split(elements, count, [])
  def messages(frame), do: {:ok, [frame]}

  defp split(<<106>>, 0, messages), do: {:ok, Enum.reverse(messages)}

  defp split(<<109, size::32, message::binary-size(size), rest::binary>>, count, messages)
       when count > 0 do
    split(rest, count - 1, [message | messages])
  end

  defp split(_elements, _count, _messages), do: :malformed

  @doc "Whom a message is for, from its first bytes (§5)."
  @spec route(message) :: routed
  def route(<<131, 104, 4, 119, 2, "ok", 98, id::32, _rest::binary>>), do: {:reply, id}
  def route(<<131, 104, 5, 119, 5, "error", 98, id::32, _rest::binary>>), do: {:reply, id}

  def route(message) do
    case decode(message) do
      {:progress, id, done, total}
      when is_integer(id) and is_integer(done) and is_integer(total) ->
        {:progress, id, done, total}

      {:log, level, text} when is_binary(text) ->
        log(level, text, nil)

      {:log, level, text, id} when is_binary(text) and is_integer(id) ->
        log(level, text, id)

      {:stuck, id, ran_us, stack} when is_integer(id) and is_integer(ran_us) and is_list(stack) ->
        {:stuck, id, ran_us, stack}

      {:bye, reason} when reason in [:stop, :eof] ->
        {:bye, reason}

      _other ->
        :malformed
    end
  end

  defp log(level, text, id) when level in [:debug, :info, :warning, :error] do
    {:log, level, text, id}
  end

  defp log(_level, _text, _id), do: :malformed

  @doc """
  A message for the caller of a job, decoded (§5.1, §5.2, §5.3).

  A result that is a large binary is taken out of its frame as it is, without a copy if it is (nearly) all of the frame.
  """
  @spec decode_reply(message) :: reply
  def decode_reply(message) when byte_size(message) < @large,
    do: message |> decode() |> decoded()

  def decode_reply(
        <<131, 104, 4, 119, 2, "ok", 98, _id::32, 109, size::32, data::binary-size(size),
          receipt::binary>> = message
      ) do
    with %{} = receipt <- receipt(decode(<<131, receipt::binary>>)),
         do: {:ok, own(data, message), receipt}
  end

  def decode_reply(message), do: message |> decode() |> decoded()

  defp decoded({:ok, _id, value, receipt}) do
    with %{} = receipt <- receipt(receipt), true <- data?(value) do
      {:ok, value, receipt}
    else
      _ -> :malformed
    end
  end

  defp decoded({:error, _id, kind, %{"message" => text} = details, receipt})
       when kind in @kinds and is_binary(text) do
    with %{} = receipt <- receipt(receipt), true <- data?(details) do
      {:error, kind, details, receipt}
    else
      _ -> :malformed
    end
  end

  defp decoded({:progress, _id, done, total}) when is_integer(done) and is_integer(total) do
    {:progress, done, total}
  end

  defp decoded(_other), do: :malformed

  defp receipt({queued, ran, cpu})
       when is_integer(queued) and is_integer(ran) and is_integer(cpu) do
    %{queued_us: queued, ran_us: ran, cpu_us: cpu}
  end

  defp receipt(_other), do: :malformed

  # A part of a frame keeps all of the frame alive: worth it only if there is little else in it.
  defp own(data, message) do
    kept = :binary.referenced_byte_size(message) - byte_size(data)
    if kept <= div(byte_size(data), 8), do: data, else: :binary.copy(data)
  end

  # `safe`: no new atoms (§9.3 promises that none are needed). Trailing bytes and compressed terms
  # are no message of ours. (A look at one byte: a pattern's context would be a tenth of a small call's garbage.)
  defp decode(message) when byte_size(message) > 1 do
    if :binary.at(message, 1) == @compressed, do: :malformed, else: decode_term(message)
  end

  defp decode(_other), do: :malformed

  defp decode_term(message) do
    case :erlang.binary_to_term(message, [:safe, :used]) do
      {term, used} when used == byte_size(message) -> term
      _trailing -> :malformed
    end
  rescue
    ArgumentError -> :malformed
  end

  # `safe` still lets funs through, and many a function of Enum would call one. All replies pass here: what is
  # most common comes first, and no closure is called.
  defp data?(term) when is_binary(term) or is_number(term) or is_atom(term), do: true
  defp data?([head | tail]), do: data?(head) and data?(tail)
  defp data?([]), do: true
  defp data?(map) when is_map(map), do: pairs?(:maps.to_list(map))
  defp data?(tuple) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> data?()
  defp data?(term), do: not is_function(term)

  defp pairs?([{key, value} | pairs]), do: data?(key) and data?(value) and pairs?(pairs)
  defp pairs?([]), do: true
end
