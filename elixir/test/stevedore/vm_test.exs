defmodule Stevedore.VMTest do
  use Stevedore.PoolCase, async: true

  # What becomes of native processes, and of jobs, when the whole VM is killed, stopped or halted. It is a VM
  # of its own, whose standard output says how far it is.

  @start """
  Logger.configure(level: :none)
  [executable, fault, directory] = System.argv()
  pool = fn name, options ->
    {:ok, _} = Stevedore.start_link([name: name, executable: executable, plugins: [fault]] ++ options)
    for worker <- Stevedore.info(name).workers, do: worker.os_pid
  end
  running = fn running, name, count ->
    {:ok, stats} = Stevedore.stats(name)
    if Enum.sum_by(stats.workers, & &1.native["running"]) < count, do: running.(running, name, count)
  end
  say = fn text -> IO.puts(text) end
  _ = {pool, running, say, directory}
  """

  defp start_vm!(script) do
    directory = Path.join(System.tmp_dir!(), "stevedore-vm-#{System.unique_integer([:positive])}")
    File.mkdir_p!(directory)
    on_exit(fn -> File.rm_rf!(directory) end)
    file = Path.join(directory, "script.exs")
    File.write!(file, @start <> script)
    paths = Enum.flat_map(:code.get_path(), &code_path(List.to_string(&1)))
    arguments = paths ++ [file, program(), plugin("fault"), directory]

    port =
      Port.open({:spawn_executable, System.find_executable("elixir")}, [
        :binary,
        :exit_status,
        line: 1_000,
        args: arguments
      ])

    {:os_pid, os_pid} = Port.info(port, :os_pid)
    {port, os_pid, directory}
  end

  defp code_path(path), do: if(path =~ "stevedore", do: ["-pa", path], else: [])

  # The next line of the VM, taken apart.
  defp line(port) do
    receive do
      {^port, {:data, {:eol, line}}} -> String.split(line)
      {^port, {:exit_status, status}} -> flunk("the VM ended with #{status}")
    after
      20_000 -> flunk("the VM says nothing")
    end
  end

  defp signal!(os_pid, signal) do
    {_, 0} = System.cmd("kill", ["-#{signal}", "#{os_pid}"])
  end

  # Zombies have no command line, but they are still there.
  defp gone?(os_pid), do: not File.exists?("/proc/#{os_pid}")

  @busy """
  workers = pool.(Busy, workers: 3, threads: 2)
  for _ <- 1..2, do: Stevedore.async(Busy, "fault.hang", %{})
  for _ <- 1..2, do: Stevedore.async(Busy, "fault.hang", %{mode: "busy"})
  for _ <- 1..2, do: Stevedore.async(Busy, "sleep", %{ms: 60_000})
  for _ <- 1..200, do: Stevedore.async(Busy, "sleep", %{ms: 60_000})
  running.(running, Busy, 6)
  {_, 0} = System.cmd("kill", ["-STOP", to_string(hd(workers))])
  say.(Enum.join(workers, " "))
  """

  describe "no native process is left, busy, hanging or stopped," do
    for {how, ending} <- [
          {"when the VM is killed", "Process.sleep(:infinity)"},
          {"after System.halt", "System.halt(3)"},
          {"when the VM aborts", ":erlang.halt(:abort)"}
        ] do
      test how do
        {port, os_pid, _directory} = start_vm!(@busy <> unquote(ending))
        workers = port |> line() |> Enum.map(&String.to_integer/1)
        assert length(workers) == 3
        if unquote(ending) =~ "sleep", do: signal!(os_pid, "KILL")
        assert_receive {^port, {:exit_status, _status}}
        since = System.monotonic_time(:millisecond)
        eventually(fn -> Enum.all?(workers, &gone?/1) end)
        assert System.monotonic_time(:millisecond) - since < 2_000
      end
    end
  end

  test "a VM that is stopped for longer than the deadlines makes no expired job run" do
    script = """
    _ = pool.(Stopped, workers: 1, threads: 1)
    first = Stevedore.async(Stopped, "sleep", %{ms: 600})
    running.(running, Stopped, 1)
    source = Path.join(directory, "source")
    File.write!(source, "data")
    late = for n <- 1..20 do
      args = %{path: source, to: Path.join(directory, "late-\#{n}")}
      Stevedore.async(Stopped, "zstd.compress", args, queue_timeout: 150)
    end
    say.("ready")
    {:ok, nil} = Stevedore.await(first)
    for job <- late, do: {:error, %{kind: :queue_timeout}} = Stevedore.await(job)
    {:ok, _} = Stevedore.call(Stopped, "zstd.compress", %{path: source, to: Path.join(directory, "in-time")})
    say.("done")
    """

    {port, os_pid, directory} = start_vm!(script)
    assert line(port) == ["ready"]
    signal!(os_pid, "STOP")
    # Longer than all that it waits for.
    Process.sleep(1_500)
    signal!(os_pid, "CONT")
    assert line(port) == ["done"]
    assert_receive {^port, {:exit_status, 0}}
    assert Path.wildcard(Path.join(directory, "late-*")) == []
    assert File.exists?(Path.join(directory, "in-time"))
  end
end
