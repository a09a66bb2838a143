defmodule Stevedore.BlackBoxTest do
  use ExUnit.Case, async: true

  alias Stevedore.BlackBox

  @none 0xFFFFFFFF
  @threads_at 128
  @crash_at 512
  @ops_at 2048
  @slots_at 4096

  # A black box as PROTOCOL §12 describes it, put together from its parts.
  defp box(parts \\ []) do
    threads = for {tid, id, op} <- parts[:threads] || [], do: thread(tid, id, op)
    slots = for {id, state} <- parts[:slots] || [], do: <<id + state * 0x1_0000_0000::64-native>>
    ops = for name <- parts[:ops] || [], do: pad(name, 256)

    header =
      <<"STVBBOX1", parts[:version] || 1::32-native, 4711::32-native,
        parts[:thread_count] || length(threads)::32-native, length(ops)::32-native,
        100::32-native, length(slots)::32-native, 1::64-native, @threads_at::64-native,
        @crash_at::64-native, @ops_at::64-native, @slots_at::64-native>>

    pad(header, @threads_at) <>
      pad(IO.iodata_to_binary(threads), @crash_at - @threads_at) <>
      pad(parts[:crash] || "", @ops_at - @crash_at) <>
      pad(IO.iodata_to_binary(ops), @slots_at - @ops_at) <> pad(IO.iodata_to_binary(slots), 800)
  end

  defp pad(bytes, size) when byte_size(bytes) <= size,
    do: bytes <> :binary.copy(<<0>>, size - byte_size(bytes))

  defp thread(tid, id, op),
    do: pad(<<tid::32-native, 0::32, id + op * 0x1_0000_0000::64-native, 99::64-native>>, 64)

  defp crash(state, fields) do
    frames = fields[:frames] || []

    <<state::32-native, fields[:signal] || 11::32-native, fields[:code] || 1::32-native,
      fields[:sender] || 0::32-native, fields[:thread] || 1::32-native,
      fields[:id] || 7::32-native, fields[:address] || 0::64-native, 5::64-native,
      12_999::64-native, pad(fields[:op] || "fault.crash", 256)::binary,
      fields[:count] || length(frames)::32-native,
      0::32>> <>
      for {pc, offset, function, module} <- frames, into: "" do
        <<pc::64-native, offset::64-native>> <> pad(function, 96) <> pad(module, 80)
      end
  end

  defp crash_of(fields, state \\ 2) do
    assert {:ok, box} = BlackBox.parse(box(crash: crash(state, fields)))
    box.crash
  end

  describe "parse/1" do
    test "of a worker that did nothing yet" do
      assert BlackBox.parse(box()) ==
               {:ok, %BlackBox{os_pid: 4711, threads: [], slots: %{}, crash: nil}}
    end

    test "tells what each thread runs, leaving out those that never ran anything" do
      threads = [{10, @none, @none}, {0, @none, @none}, {12, 5, 1}, {13, 6, @none}]
      assert {:ok, box} = BlackBox.parse(box(threads: threads, ops: ["echo", "fault.hang"]))

      assert box.threads == [
               %{index: 0, tid: 10, id: nil, op: nil, since: nil},
               %{index: 2, tid: 12, id: 5, op: "fault.hang", since: 99},
               %{index: 3, tid: 13, id: 6, op: nil, since: 99}
             ]
    end

    test "tells the state of each job; one that is left over as flushed goes behind" do
      slots = [{1, 1}, {2, 2}, {3, 3}, {4, 4}, {0, 0}, {5, 2}, {5, 4}, {6, 4}, {6, 1}, {7, 9}]
      assert {:ok, box} = BlackBox.parse(box(slots: slots))

      assert box.slots == %{
               1 => :waiting,
               2 => :running,
               3 => :finished,
               4 => :flushed,
               5 => :running,
               6 => :waiting
             }
    end

    test "tells of a crash" do
      frames = [{0x1000, 0x7, "crash_by_null_write", "fault.so"}, {0x2000, 0x20, "", "libc.so.6"}]

      assert crash_of(frames: frames, address: 0x10) == %{
               signal: "SIGSEGV",
               code: 1,
               sender: nil,
               address: 0x10,
               thread: 1,
               id: 7,
               op: "fault.crash",
               ran_us: 12,
               complete: true,
               frames: [
                 %{pc: 0x1000, offset: 7, function: "crash_by_null_write", module: "fault.so"},
                 %{pc: 0x2000, offset: 0x20, function: nil, module: "libc.so.6"}
               ]
             }
    end

    test "tells that a crash's frames are not all there" do
      assert %{complete: false, frames: []} = crash_of([], 1)
    end

    test "tells of a crash that is no job's" do
      assert %{id: nil, thread: nil, sender: 99, code: -6} =
               crash_of(id: @none, thread: @none, sender: 99, code: -6)
    end

    test "never raises, whatever it gets" do
      whole =
        box(
          threads: [{1, 2, 0}],
          ops: ["echo"],
          slots: [{1, 2}],
          crash: crash(2, frames: [{1, 2, "f", "m"}])
        )

      for size <- 0..(byte_size(whole) - 801) do
        assert {:error, _reason} = BlackBox.parse(binary_part(whole, 0, size))
      end

      :rand.seed(:exsss, 7)

      for _ <- 1..2000 do
        at = :rand.uniform(@slots_at) - 1
        <<before::binary-size(at), _::binary-size(4), rest::binary>> = whole
        garbled = before <> :rand.bytes(4) <> rest

        assert match?({:ok, %BlackBox{}}, BlackBox.parse(garbled)) or
                 match?({:error, _}, BlackBox.parse(garbled))
      end
    end

    test "refuses other files, other versions, and counts that cannot be" do
      assert BlackBox.parse(String.duplicate("x", 5000)) == {:error, :not_a_black_box}
      assert BlackBox.parse(box(version: 2)) == {:error, :unknown_version}
      assert BlackBox.parse(box(thread_count: @none)) == {:error, :not_a_black_box}
      assert BlackBox.parse(box(thread_count: 1000)) == {:error, :truncated}

      assert BlackBox.parse(box(crash: crash(2, count: @none))) == {:error, :not_a_black_box}
      assert BlackBox.parse(box(crash: crash(3, []))) == {:error, :not_a_black_box}
    end
  end

  describe "read/1" do
    @tag :tmp_dir
    test "is what parse/1 says, also of a file that was deleted", %{tmp_dir: directory} do
      bytes = box(threads: [{1, 2, 0}], ops: ["echo"], slots: [{2, 2}], crash: crash(2, []))
      assert read(directory, bytes) == BlackBox.parse(bytes)
      assert read(directory, binary_part(bytes, 0, 3000)) == {:error, :truncated}
      assert read(directory, "") == {:error, :truncated}
    end

    defp read(directory, bytes) do
      path = Path.join(directory, "box")
      File.write!(path, bytes)
      {:ok, fd} = :file.open(path, [:read, :raw, :binary])
      File.rm!(path)
      result = BlackBox.read(fd)
      :ok = :file.close(fd)
      result
    end
  end

  describe "texts" do
    test "of frames" do
      frame = %{pc: 0xABC, offset: 0x12, function: "f", module: "m.so"}
      assert BlackBox.frame_text(frame) == "f+0x12 (m.so)"
      assert BlackBox.frame_text(%{frame | function: nil}) == "m.so+0x12"
      assert BlackBox.frame_text(%{frame | function: nil, module: nil}) == "0xabc"
    end

    test "of a fault" do
      frames = [{0, 0, "", ""}, {1, 7, "crash_by_null_write", "fault.so"}]

      assert BlackBox.describe(crash_of(frames: frames)) ==
               "SIGSEGV at 0x0 in crash_by_null_write (fault.so), op fault.crash, after 12 µs"
    end

    test "of an abort name who called it" do
      frames = [
        {1, 1, "", "libc.so.6"},
        {1, 1, "abort", "libc.so.6"},
        {1, 7, "crash_by_abort", "fault.so"}
      ]

      assert BlackBox.describe(crash_of(signal: 6, sender: 4711, frames: frames)) ==
               "SIGABRT in crash_by_abort (fault.so), op fault.crash, after 12 µs"
    end

    test "of exit, of a signal from outside, and without frames" do
      assert BlackBox.describe(crash_of(signal: 0)) ==
               "exit was called, op fault.crash, after 12 µs"

      assert BlackBox.describe(crash_of(id: @none, sender: 99)) ==
               "SIGSEGV sent by process 99, no job's doing"
    end
  end
end
