defmodule Stevedore.Top.LoopTest do
  use Stevedore.PoolCase, async: true

  import ExUnit.CaptureIO

  alias Stevedore.Top.{Connection, Loop, Sample}

  test "lines, as often as asked for" do
    pool = start_pool!()
    {:ok, 1} = Stevedore.call(pool, "echo", 1)
    options = %{interval: 10, count: 3, plain: true}
    text = capture_io(fn -> assert Loop.run(node(), options) == :ok end)
    lines = for line <- String.split(text, "\n"), line =~ inspect(pool), do: line
    assert [first, second, _third] = lines
    assert first =~ " state=ok workers=1/1 "
    assert first =~ " jobs/s=- "
    assert second =~ ~r| jobs/s=\d|
  end

  test "an interval that cannot be" do
    for interval <- ["5", "60001"] do
      assert_raise Mix.Error, ~r/--interval is ms from 250 to 60000, got: #{interval}/, fn ->
        Mix.Tasks.Stevedore.Top.run(["--interval", interval])
      end
    end
  end

  test "a node that is not there" do
    assert {:error, text} = Sample.take(:nobody@nowhere)
    assert text =~ "nobody@nowhere"
    options = %{interval: 10, count: 1, plain: true}

    assert capture_io(fn -> Loop.run(:nobody@nowhere, options) end) =~
             "no connection to nobody@nowhere"
  end

  test "names of nodes" do
    {:ok, host} = :inet.gethostname()
    assert Connection.full_name("app") == :"app@#{host}"
    assert Connection.full_name("app@other") == :app@other
    assert Connection.domain(:app@other) == :shortnames
    assert Connection.domain(:"app@10.0.0.1") == :longnames
  end

  if System.find_executable("script") do
    # In a terminal of its own, in a VM of its own.

    @code """
    {:ok, _} = Stevedore.start_link(name: Shown, workers: 1, executable: System.get_env("STEVEDORE_EXECUTABLE"))
    IO.write("BEAM=\#{System.pid()}.")
    Stevedore.Top.Loop.run(node(), %{interval: 250, count: :infinity, plain: false})
    """

    defp open(directory) do
      code = Path.join(directory, "top.exs")
      File.write!(code, @code)
      paths = Enum.map_join(:code.get_path(), " ", &"-pa '#{&1}'")
      elixir = System.find_executable("elixir")

      # After SIGKILL the shell may be back a moment before the terminal is.
      command = """
      was=$(stty -g); '#{elixir}' #{paths} '#{code}'; n=0
      while [ "$(stty -g)" != "$was" ] && [ $n -lt 50 ]; do sleep 0.1; n=$((n + 1)); done
      [ "$(stty -g)" = "$was" ] && echo RESTORED; echo END
      """

      args = ["-qec", command, "/dev/null"]

      Port.open({:spawn_executable, System.find_executable("script")}, [
        :binary,
        :exit_status,
        args: args
      ])
    end

    defp read_until(port, pattern, text \\ "") do
      if text =~ pattern do
        text
      else
        receive do
          {^port, {:data, more}} -> read_until(port, pattern, text <> more)
          {^port, {:exit_status, status}} -> flunk("it has ended (#{status}): #{text}")
        after
          30_000 -> flunk("nothing more comes: #{text}")
        end
      end
    end

    # With its settings, back from the other screen, and with a cursor.
    defp assert_restored(text) do
      assert text =~ ~r/\e\[\?1049h.*\e\[\?25h\e\[\?1049l.*RESTORED.*END/s
    end

    describe "in a terminal" do
      setup do
        directory =
          Path.join(System.tmp_dir!(), "stevedore-#{System.unique_integer([:positive])}")

        File.mkdir_p!(directory)
        on_exit(fn -> File.rm_rf!(directory) end)
        %{tmp_dir: directory}
      end

      test "it draws, takes keys, and gives the terminal back", %{tmp_dir: directory} do
        port = open(directory)
        shown = read_until(port, ~r/Shown +ok +1\/1.*\e\[2mq quit/s)
        Port.command(port, "p")
        shown = shown <> read_until(port, "PAUSED")
        Port.command(port, "q")
        assert_restored(shown <> read_until(port, "END"))
      end

      test "whatever ends the VM", %{tmp_dir: directory} do
        for signal <- ["KILL", "TERM"] do
          port = open(directory)
          shown = read_until(port, ~r/q quit/)
          [_, os_pid] = Regex.run(~r/BEAM=(\d+)\./, shown)
          kill!(os_pid, signal)
          assert_restored(shown <> read_until(port, "END"))
        end
      end
    end
  end
end
