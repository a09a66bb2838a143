defmodule Stevedore.BlackBox do
  @moduledoc false
  # What a worker noted in its black box (PROTOCOL §12); pure but for `read/1`. It is asked when the worker
  # is dead, and then tells which of its jobs had started and which one killed it.
  #
  # The file is written by a process that may have died of anything, so nothing in it is taken on trust:
  # whatever is wrong is an `{:error, reason}`.

  import Bitwise

  defstruct [:os_pid, :crash, threads: [], slots: %{}]

  @type slot :: :waiting | :running | :finished | :flushed
  @type frame :: %{
          function: String.t() | nil,
          module: String.t() | nil,
          offset: non_neg_integer,
          pc: non_neg_integer
        }
  @type thread :: %{
          index: non_neg_integer,
          tid: pos_integer,
          id: non_neg_integer | nil,
          op: String.t() | nil,
          since: non_neg_integer | nil
        }
  @type crash :: %{
          signal: String.t() | nil,
          code: integer,
          sender: pos_integer | nil,
          address: non_neg_integer,
          thread: non_neg_integer | nil,
          id: non_neg_integer | nil,
          op: String.t() | nil,
          ran_us: non_neg_integer,
          complete: boolean,
          frames: [frame]
        }
  @type t :: %__MODULE__{
          os_pid: pos_integer,
          threads: [thread],
          slots: %{(id :: non_neg_integer) => slot},
          crash: crash | nil
        }
  @type reason :: :not_a_black_box | :unknown_version | :truncated | File.posix() | term

  @header 72
  @thread 64
  @op 256
  @crash 312
  @frame 192
  @none 0xFFFFFFFF

  # Mostly all that is needed is in here, and each read is a visit to another scheduler's thread: some 50 µs.
  @beginning 65_536

  # What a worker can be told to have (PROTOCOL §10), and far more: a garbled count must not cost memory.
  @most_threads 1 <<< 16
  @most_slots 1 <<< 26
  @most_frames 64

  @signals %{
    4 => "SIGILL",
    5 => "SIGTRAP",
    6 => "SIGABRT",
    7 => "SIGBUS",
    8 => "SIGFPE",
    11 => "SIGSEGV",
    31 => "SIGSYS"
  }

  # Where a fault is reported, but not made.
  @runtimes [
    "libc.",
    "libc-",
    "ld-",
    "libstdc++",
    "libgcc_s",
    "libc++",
    "libpthread",
    "linux-vdso"
  ]

  @doc "Takes a whole file apart."
  @spec parse(binary) :: {:ok, t} | {:error, reason}
  def parse(bytes) when is_binary(bytes) do
    take(fn
      at, size when at + size <= byte_size(bytes) -> {:ok, binary_part(bytes, at, size)}
      _at, _size -> {:error, :truncated}
    end)
  end

  @doc """
  Reads only what is needed from an open file (`:file.open(path, [:read, :raw, :binary])`), which may have
  been deleted meanwhile.
  """
  @spec read(:file.fd()) :: {:ok, t} | {:error, reason}
  def read(fd) do
    case :file.pread(fd, 0, @beginning) do
      {:ok, beginning} -> take(&read_at(fd, beginning, &1, &2))
      :eof -> {:error, :truncated}
      {:error, reason} -> {:error, reason}
    end
  end

  defp read_at(_fd, _beginning, _at, 0), do: {:ok, ""}

  defp read_at(_fd, beginning, at, size) when at + size <= byte_size(beginning),
    do: {:ok, binary_part(beginning, at, size)}

  defp read_at(fd, _beginning, at, size), do: read_exactly(fd, at, size)

  defp read_exactly(fd, at, size) do
    case :file.pread(fd, at, size) do
      {:ok, bytes} when byte_size(bytes) == size -> {:ok, bytes}
      {:error, reason} -> {:error, reason}
      _short_or_eof -> {:error, :truncated}
    end
  end

  @doc "One frame: `function+0x12 (module)`, `module+0x1234` or `0x1234`."
  @spec frame_text(frame) :: String.t()
  def frame_text(%{function: nil, module: nil, pc: pc}), do: hex(pc)
  def frame_text(%{function: nil, module: module, offset: offset}), do: "#{module}+#{hex(offset)}"

  def frame_text(%{function: function, module: module, offset: offset}),
    do: "#{function}+#{hex(offset)} (#{module})"

  @doc "The address of a crash, as in `0x0`; `nil` if it was no signal."
  @spec address_text(crash) :: String.t() | nil
  def address_text(%{signal: nil}), do: nil
  def address_text(%{address: address}), do: hex(address)

  @doc "A crash in one line: of what, where, in which op, after how long."
  @spec describe(crash) :: String.t()
  def describe(crash) do
    cause(crash) <> place(guilty_frame(crash.frames)) <> op(crash)
  end

  defp cause(%{signal: nil}), do: "exit was called"
  defp cause(%{signal: signal, sender: nil, address: address}), do: "#{signal} at #{hex(address)}"

  defp cause(%{signal: signal, id: nil, sender: sender}),
    do: "#{signal} sent by process #{sender}"

  defp cause(%{signal: signal}), do: signal

  defp place(nil), do: ""
  defp place(%{function: nil} = frame), do: " in #{frame_text(frame)}"
  defp place(%{function: function, module: module}), do: " in #{function} (#{module})"

  defp op(%{id: nil}), do: ", no job's doing"
  defp op(%{op: op, ran_us: ran_us}), do: ", op #{op || "?"}, after #{ran_us} µs"

  # The innermost one that is not the C library's, through which abort and exit go.
  defp guilty_frame(frames) do
    Enum.find(frames, List.first(frames), fn frame ->
      frame.module != nil and not String.starts_with?(frame.module, @runtimes)
    end)
  end

  defp hex(number), do: "0x" <> String.downcase(Integer.to_string(number, 16))

  ## The file

  defp take(at) do
    with {:ok, header} <- at.(0, @header),
         {:ok, box} <- header(header),
         {:ok, threads} <- at.(box.threads_at, box.thread_count * @thread),
         {:ok, threads} <- threads(threads, box, at),
         {:ok, crash} <- at.(box.crash_at, @crash),
         {:ok, crash} <- crash(crash, box, at),
         {:ok, slots} <- at.(box.slots_at, box.slots_used * 8) do
      {:ok,
       %__MODULE__{os_pid: box.os_pid, threads: threads, slots: slots(slots, %{}), crash: crash}}
    end
  end

  defp header(
         <<"STVBBOX1", 1::32-native, os_pid::32-native, thread_count::32-native,
           op_capacity::32-native, slot_capacity::32-native, slots_used::32-native,
           _started_at::64-native, threads_at::64-native, crash_at::64-native, ops_at::64-native,
           slots_at::64-native>>
       )
       when thread_count <= @most_threads and slots_used <= slot_capacity and
              slot_capacity <= @most_slots and threads_at < 1 <<< 40 and crash_at < 1 <<< 40 and
              ops_at < 1 <<< 40 and slots_at < 1 <<< 40 do
    {:ok,
     %{
       os_pid: os_pid,
       thread_count: thread_count,
       op_capacity: op_capacity,
       slots_used: slots_used,
       threads_at: threads_at,
       crash_at: crash_at,
       ops_at: ops_at,
       slots_at: slots_at
     }}
  end

  defp header(<<"STVBBOX1", version::32-native, _rest::binary>>) when version != 1,
    do: {:error, :unknown_version}

  defp header(_other), do: {:error, :not_a_black_box}

  ## Threads

  # Those that have run something. The names of ops are read one by one: there are few threads, and room for
  # many names.
  defp threads(bytes, box, at) do
    entries = for <<entry::binary-size(@thread) <- bytes>>, do: entry

    Enum.reduce_while(Enum.with_index(entries), {:ok, []}, fn {entry, index}, {:ok, threads} ->
      case thread(entry, index, box, at) do
        {:ok, nil} -> {:cont, {:ok, threads}}
        {:ok, thread} -> {:cont, {:ok, [thread | threads]}}
        error -> {:halt, error}
      end
    end)
    |> reversed()
  end

  defp reversed({:ok, list}), do: {:ok, Enum.reverse(list)}
  defp reversed(error), do: error

  defp thread(<<0::32, _rest::binary>>, _index, _box, _at), do: {:ok, nil}

  defp thread(
         <<tid::32-native, _::32, run::64-native, since::64-native, _::binary>>,
         index,
         box,
         at
       ) do
    with {:ok, op} <- op_name(run >>> 32, box, at) do
      id = known(run &&& @none)
      {:ok, %{index: index, tid: tid, id: id, op: op, since: id && since}}
    end
  end

  defp op_name(number, %{op_capacity: capacity}, _at) when number >= capacity, do: {:ok, nil}

  defp op_name(number, box, at) do
    with {:ok, name} <- at.(box.ops_at + number * @op, @op), do: {:ok, text(name)}
  end

  ## Slots

  # An id that was used again may be left over as flushed: any other state goes before.
  defp slots(<<word::64-native, rest::binary>>, slots) do
    case word >>> 32 do
      1 -> slots(rest, Map.put(slots, word &&& @none, :waiting))
      2 -> slots(rest, Map.put(slots, word &&& @none, :running))
      3 -> slots(rest, Map.put(slots, word &&& @none, :finished))
      4 -> slots(rest, Map.put_new(slots, word &&& @none, :flushed))
      _free -> slots(rest, slots)
    end
  end

  defp slots(<<>>, slots), do: slots

  ## The crash

  defp crash(
         <<state::32-native, signal::32-signed-native, code::32-signed-native, sender::32-native,
           thread::32-native, job::32-native, address::64-native, _at::64-native, ran::64-native,
           op::binary-size(@op), count::32-native, _::32>>,
         box,
         at
       )
       when state in [1, 2] and count <= @most_frames do
    with {:ok, frames} <- at.(box.crash_at + @crash, count * @frame) do
      {:ok,
       %{
         signal: signal_name(signal),
         code: code,
         sender: if(sender != 0, do: sender),
         address: address,
         thread: known(thread),
         id: known(job),
         op: text(op),
         ran_us: div(ran, 1000),
         complete: state == 2,
         frames: for(<<frame::binary-size(@frame) <- frames>>, do: frame(frame))
       }}
    end
  end

  defp crash(<<0::32, _rest::binary>>, _box, _at), do: {:ok, nil}
  defp crash(_garbled, _box, _at), do: {:error, :not_a_black_box}

  defp frame(
         <<pc::64-native, offset::64-native, function::binary-size(96), module::binary-size(80)>>
       ),
       do: %{pc: pc, offset: offset, function: text(function), module: text(module)}

  defp signal_name(0), do: nil
  defp signal_name(number), do: Map.get(@signals, number, "signal #{number}")

  defp known(@none), do: nil
  defp known(number), do: number

  # Up to the first NUL; `nil` if that is nothing. A name is cut off anywhere, and may be any bytes.
  defp text(bytes) do
    case :binary.split(bytes, <<0>>) do
      ["" | _rest] -> nil
      [text | _rest] -> String.replace_invalid(text)
    end
  end
end
