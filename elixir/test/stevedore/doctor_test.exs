defmodule Stevedore.DoctorTest do
  use Stevedore.PoolCase, async: true

  import ExUnit.CaptureIO

  alias Stevedore.Doctor
  alias Stevedore.Doctor.Facts

  ## Pure

  @hello %{
    "version" => "1.2.3",
    "protocol" => 1,
    "confinement" => %{"seccomp" => "on", "landlock" => "on", "memory" => "on"}
  }

  @healthy %{
    elixir: "1.18.3",
    otp: 28,
    erts: "16.4.0.6",
    kernel: "6.7.1",
    user: "1000",
    version: "1.2.3",
    protocol: 1,
    program: %{path: "/p", hello: {:ok, @hello}},
    job: {:ok, 12},
    plugins: [{"x.so", {:ok, ["x"]}}],
    limits: %{"Max open files" => 65_536, "Max processes" => :infinity},
    pipe_pages: 16_384,
    shm: %{writable: true, free: 100_000_000},
    libraries: [telemetry: true, oban: false]
  }

  defp find(facts, what),
    do: for({status, ^what, found, todo} <- Doctor.check(facts), do: {status, found, todo})

  defp with_measure(name, status) do
    put_in(@healthy, [:program, :hello], {:ok, put_in(@hello, ["confinement", name], status)})
  end

  test "healthy: all is ok, and nothing is to be done" do
    findings = Doctor.check(@healthy)
    assert Enum.all?(findings, &match?({:ok, _, _, nil}, &1))
    refute Doctor.broken?(findings)
    assert [{:ok, "can be had, as of Linux 6.7 ABI 4 or later", nil}] = find(@healthy, "Landlock")
  end

  test "what is broken, and what to do" do
    for {change, what, text} <- [
          {%{elixir: "1.17.3"}, "Elixir and OTP", ~r/1\.18/},
          {%{otp: 26}, "Elixir and OTP", ~r/OTP 27/},
          {%{program: %{path: "/p", hello: {:error, "no"}}}, "worker program", ~r/no pool/},
          {%{version: "1.2.4"}, "versions", ~r/deps\.compile/},
          {%{protocol: 2}, "protocol", ~r/same release/},
          {%{plugins: [{"x.so", {:error, "no"}}]}, "plugin", ~r/ldd x\.so/}
        ] do
      facts = Map.merge(@healthy, change)
      assert Doctor.broken?(Doctor.check(facts))
      assert [{:problem, _found, todo}] = find(facts, what)
      assert todo =~ text
    end

    assert [{:problem, "it died", nil}] = find(%{@healthy | job: {:error, "it died"}}, "a pool")
  end

  test "what is a limit, or missing" do
    for {facts, what, text} <- [
          {%{@healthy | limits: %{"Max open files" => 1_024, "Max processes" => 9_999}},
           "open files", ~r/LimitNOFILE/},
          {%{@healthy | limits: %{"Max open files" => 9_999, "Max processes" => 100}},
           "processes", ~r/ulimit -u/},
          {%{@healthy | limits: %{}}, "/proc", ~r/mount/},
          {%{@healthy | pipe_pages: 1_024}, "pipes", ~r/sysctl/},
          {%{@healthy | shm: %{writable: false, free: 0}}, "/dev/shm", ~r/tmpfs/},
          {%{@healthy | shm: %{writable: true, free: 1_000}}, "/dev/shm", ~r/shm-size/},
          {with_measure("landlock", "there is none"), "Landlock", ~r/no effect/},
          {with_measure("seccomp", "there is none"), "seccomp", ~r/no effect/},
          {with_measure("memory", "there is none"), "memory limit", ~r/Delegate/},
          {%{@healthy | libraries: [telemetry: false]}, "telemetry", ~r/deps/}
        ] do
      findings = Doctor.check(facts)
      refute Doctor.broken?(findings)
      assert [{:note, _found, todo}] = find(Map.put(facts, :unused, nil), what)
      assert todo =~ text
    end
  end

  test "the bug of OTP's ports, in each release" do
    for {erts, status} <- [
          {"15.2.7", :note},
          {"15.2.7.12", :note},
          {"15.2.7.13", :ok},
          {"15.2.8", :ok},
          {"16.0", :note},
          {"16.4.0.5", :note},
          {"16.4.0.6", :ok},
          {"17.0.5", :note},
          {"17.0.6", :ok},
          {"17.1", :ok},
          {"18.0", :ok},
          {"14.2.5", :note}
        ] do
      assert [{^status, _, _}] = find(%{@healthy | erts: erts}, "OTP's ports")
    end
  end

  test "limits as Linux writes them" do
    text = """
    Limit                     Soft Limit           Hard Limit           Units
    Max processes             96364                96364                processes
    Max open files            unlimited            unlimited            files
    """

    assert Facts.limits(text) == %{"Max processes" => 96_364, "Max open files" => :infinity}
    assert Facts.limits("") == %{"Max processes" => :unknown, "Max open files" => :unknown}
    assert Facts.limits(nil) == %{}
  end

  ## Really

  defp task(module, args) do
    output = capture_io(fn -> send(self(), {:ended, run(module, args)}) end)
    assert_received {:ended, status}
    {status, output}
  end

  defp run(module, args) do
    module.run(["--executable", program() | args])
    0
  catch
    :exit, {:shutdown, status} -> status
  end

  test "of this installation" do
    {status, text} = task(Mix.Tasks.Stevedore.Doctor, ["--plugin", plugin("fault")])
    assert status == 0
    assert text =~ ~r/^ok +worker program .* runs$/m
    assert text =~ ~r/^ok +versions +program and library are/m
    assert text =~ ~r/^ok +a pool +starts, and runs a job in/m
    assert text =~ ~r/^ok +plugin .*fault\.so loads, with fault\.crash/m
    assert text =~ ~r/^(ok|note) +Landlock /m
    refute text =~ "BROKEN"
  end

  test "of a plugin that is none" do
    {status, text} = task(Mix.Tasks.Stevedore.Doctor, ["--plugin", "/etc/passwd"])
    assert status == 1
    assert text =~ ~r/^BROKEN +plugin +\/etc\/passwd: .*cannot load the plugin.*exit code 69/m
    {1, text} = task(Mix.Tasks.Stevedore.Doctor, ["--plugin", "/no/such.so"])
    assert text =~ ~r/^BROKEN +plugin +\/no\/such\.so: there is no such file/m
    refute text =~ "ldd"
  end

  test "of wrong arguments" do
    for {args, text} <- [{["--plugn", "x"], "wrong option --plugn"}, {["x"], "wrong argument x"}] do
      assert_raise Mix.Error, ~r/#{text}/, fn -> Mix.Tasks.Stevedore.Doctor.run(args) end
    end
  end

  test "of programs that are none" do
    for {program, text} <- [
          {"/no/such/program", "no worker program at"},
          {"/etc/passwd", "may not be executed"},
          {"/bin/true", "ended before it answered"},
          {Fixture.path("wrong_protocol"), "BROKEN  protocol"},
          {Fixture.path("garbage"), "no message"}
        ] do
      facts = Facts.gather(executable: program, plugins: ["x.so"])
      findings = Doctor.check(facts)
      assert Doctor.broken?(findings)
      assert findings |> Doctor.lines() |> Enum.join("\n") =~ text
    end
  end

  test "mix stevedore.ops" do
    {0, text} = task(Mix.Tasks.Stevedore.Ops, ["--plugin", plugin("fault")])
    assert text =~ ~r/^digest +idempotent/m
    assert text =~ ~r/^fault\.crash/m
  end

  test "mix stevedore.call" do
    hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert {0, text} = task(Mix.Tasks.Stevedore.Call, ["digest", ~s({"data": "abc"})])
    assert text == ~s("#{hash}"\n)
    # Its error is on stderr, which is not captured.
    assert {1, ""} = task(Mix.Tasks.Stevedore.Call, ["nope"])

    assert_raise Mix.Error, ~r/name a file/, fn ->
      Mix.Tasks.Stevedore.Call.run(["digest", "--data", "@-"])
    end

    assert_raise Mix.Error, ~r/no worker program/, fn ->
      Mix.Tasks.Stevedore.Call.run(["--executable", "/no/such", "digest"])
    end
  end
end
