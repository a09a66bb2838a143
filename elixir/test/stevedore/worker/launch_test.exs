defmodule Stevedore.Worker.LaunchTest do
  use ExUnit.Case, async: true

  alias Stevedore.Options
  alias Stevedore.Worker.Launch

  defp options(options), do: Options.pool!([name: P] ++ options)

  # What confining adds is the business of another test.
  defp args(options), do: Launch.args(%{options(options) | confine: []}, "/b/x")

  test "the limits and the black box are on the command line, and what was asked for" do
    limits = ~w(--max-queue 131072 --max-frame 67108864 --kill-after 1000 --black-box /b/x)
    assert limits -- args([]) == []
    assert ["--max-queue", "131072" | _] = args([])
    refute "--plugin" in args([])

    given =
      args(
        threads: 4,
        max_queue: 9,
        kill_after: 7,
        plugins: ["/p/a.so", "/p/b.so"],
        args: ["-x"]
      )

    assert ~w(--threads 4 --max-queue 65545 --max-frame 67108864 --kill-after 7 --black-box /b/x) ==
             Enum.take(given, 10)

    assert ~w(--plugin /p/a.so --plugin /p/b.so -x) == Enum.take(given, -5)
  end

  test "a relative plugin and executable are made absolute" do
    assert ["--plugin", "/" <> _] = Enum.take(args(plugins: ["priv/a.so"]), -2)
    assert "/" <> _ = Launch.executable(options(executable: "bin/stevedore"))
  end

  test "the port has frames, an exit status and no limits, and leaves stderr alone" do
    {{:spawn_executable, ~c"/bin/x"}, settings} =
      Launch.port(options(executable: "/bin/x", env: %{"A" => "ä", "B" => false}), "/b/x")

    assert :binary in settings and :exit_status in settings
    refute :stderr_to_stdout in settings
    assert {:packet, 4} in settings
    assert {:busy_limits_port, :disabled} in settings
    assert {:env, [{~c"A", ~c"ä"}, {~c"B", false}]} in settings
  end

  test "each reason for a failed start says what to do" do
    for {reason, advice} <- [
          {{:not_opened, :enoent}, ":executable"},
          {{:not_opened, :eacces}, "chmod"},
          {{:not_opened, :emfile}, "limits"},
          {{:port_exited, 69}, "check :plugins"},
          {{:port_exited, 64}, "check :args and the paths of :confine"},
          {{:port_exited, 0}, "is it a Stevedore worker"},
          {{:port_exited, 13}, "is it a Stevedore worker"},
          {{:port_exited, 139}, "SIGSEGV"},
          {{:port_closed, :epipe}, "stderr"},
          {{:boot_timeout, 10}, ":boot_timeout"},
          {{:protocol_version, 2}, "same release"},
          {{:malformed, "abc"}, "is it a Stevedore worker"}
        ] do
      text = Launch.boot_failure(reason, "/bin/x")
      assert text =~ advice
      assert text =~ "/bin/x"
    end

    assert Launch.boot_failure({:port_exited, 69}, "/bin/x", "no such file") =~
             "no such file (exit code 69"
  end

  test "every exit code of PROTOCOL §11.1 has words of its own" do
    texts = for code <- [0, 64, 65, 69, 70, 71, 74, 75, 76, 77], do: Launch.exit_status(code)
    assert Enum.uniq(texts) == texts
    assert Enum.all?(texts, &(&1 =~ ~r/exit code \d+, ./))
    assert Launch.exit_status(3) == "exit code 3"
    assert Launch.exit_status(128 + 34) == "killed by signal 34"
  end
end
