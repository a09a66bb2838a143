defmodule Stevedore.Doctor do
  @moduledoc false
  # What `mix stevedore.doctor` says of an installation: facts in (facts.ex gathers them), findings out. Pure.
  #
  # A problem is what keeps Stevedore from working. A note is what limits it, or what it does without: nobody has to do
  # anything about it.

  @type status :: :ok | :note | :problem
  @type finding :: {status, what :: String.t(), found :: String.t(), todo :: String.t() | nil}

  # The first erts of each release in which commands to ports with `nosuspend` cannot leave a port busy for ever.
  @fixed %{15 => [15, 2, 7, 13], 16 => [16, 4, 0, 6], 17 => [17, 0, 6]}

  # So much of the pipes of a user is kept by each worker: two of 512 KiB, in pages of 4 KiB.
  @pages_of_worker 256

  # Bytes of memory for files that are plenty for black boxes.
  @shm 16 * 1024 * 1024

  @doc "Everything that is worth saying."
  @spec check(map) :: [finding]
  def check(facts) do
    List.flatten([
      versions(facts),
      program(facts),
      job(facts),
      Enum.map(facts.plugins, &plugin/1),
      open_files(facts.limits["Max open files"]),
      processes(facts.limits["Max processes"]),
      pipes(facts),
      shared_memory(facts.shm),
      proc(facts),
      sandbox(facts),
      libraries(facts)
    ])
  end

  @doc "Whether something is broken."
  @spec broken?([finding]) :: boolean
  def broken?(findings), do: Enum.any?(findings, &match?({:problem, _, _, _}, &1))

  defp versions(%{elixir: elixir, otp: otp, erts: erts}) do
    supported? = Version.match?(elixir, "~> 1.18") and otp >= 27
    found = "Elixir #{elixir}, OTP #{otp} (erts #{erts})"

    [
      if(supported?,
        do: {:ok, "Elixir and OTP", found, nil},
        else: {:problem, "Elixir and OTP", found, "use Elixir 1.18 or later on OTP 27 or later"}
      ),
      port_bug(erts)
    ]
  end

  defp port_bug(erts) do
    if fixed?(numbers(erts)),
      do: {:ok, "OTP's ports", "without the bugs that are known", nil},
      else:
        {:note, "OTP's ports",
         "this erts (#{erts}) may leave a port busy for ever (`nosuspend`), lose an exit status, or crash in " <>
           "binary_to_term; Stevedore is written so that it does not meet the first two, other libraries may",
         "go to OTP 27.3.4.17, 28.5.0.6, 29.0.6 or later when you can; a distribution may have mended some of it already"}
  end

  defp fixed?([major | _] = version) when is_map_key(@fixed, major), do: version >= @fixed[major]
  defp fixed?([major | _]), do: major > 17

  defp numbers(version) do
    for part <- String.split(version, "."), {number, _rest} <- [Integer.parse(part)], do: number
  end

  ## The worker program

  defp program(%{program: %{path: path, hello: {:error, text}}}) do
    {:problem, "worker program", "#{path}: #{text}", "no pool starts without it"}
  end

  defp program(%{program: %{path: path, hello: {:ok, hello}}, version: version} = facts) do
    [
      {:ok, "worker program", "#{path} runs", nil},
      program_version(hello["version"], version),
      protocol(hello["protocol"], facts.protocol)
    ]
  end

  defp program_version(version, version),
    do: {:ok, "versions", "program and library are #{version}", nil}

  defp program_version(program, library) do
    {:problem, "versions", "the program is #{program}, the library #{library}",
     "use those of one release: `mix deps.compile stevedore --force`, or another :executable"}
  end

  defp protocol(version, version), do: []

  defp protocol(program, library) do
    {:problem, "protocol",
     "the program speaks version #{inspect(program)}, the library #{library}",
     "use a program and a library of the same release"}
  end

  defp job(%{job: nil}), do: []

  defp job(%{job: {:ok, us}}),
    do: {:ok, "a pool", "starts, and runs a job in #{Stevedore.Text.duration(us)}", nil}

  defp job(%{job: {:error, text}}), do: {:problem, "a pool", text, nil}

  defp plugin({path, {:ok, ops}}),
    do: {:ok, "plugin", "#{path} loads, with #{Enum.join(ops, ", ")}", nil}

  defp plugin({path, :no_file}) do
    {:problem, "plugin", "#{path}: there is no such file", "build it, or check the path"}
  end

  defp plugin({path, {:error, text}}) do
    {:problem, "plugin", "#{path}: #{text}",
     "`ldd #{path}` names libraries that are missing, and it must be built against " <>
       "this release's stevedore.h"}
  end

  ## Limits

  defp open_files(:unknown), do: []
  defp open_files(limit) when limit >= 4_096, do: {:ok, "open files", "#{limit}", nil}

  defp open_files(limit) do
    {:note, "open files",
     "at most #{limit}: some 10 for each worker, beside all that the application opens",
     "raise it: `ulimit -n 65536`, LimitNOFILE= in a systemd unit, --ulimit nofile= for Docker"}
  end

  defp processes(:unknown), do: []
  defp processes(limit) when limit >= 4_096, do: {:ok, "processes", "#{limit}", nil}

  defp processes(limit) do
    {:note, "processes",
     "at most #{limit} for this user, threads included: `threads` + 4 for each worker",
     "raise it: `ulimit -u`, LimitNPROC= or TasksMax= in a systemd unit, --pids-limit for Docker"}
  end

  defp pipes(%{pipe_pages: nil}), do: []
  defp pipes(%{user: "0"}), do: {:ok, "pipes", "root's are not limited", nil}
  defp pipes(%{pipe_pages: 0}), do: {:ok, "pipes", "not limited", nil}

  defp pipes(%{pipe_pages: pages}) do
    workers = div(pages, @pages_of_worker)
    found = "room for #{workers} workers of this user; the pipes of more are slower"

    if workers >= 16,
      do: {:ok, "pipes", found, nil},
      else: {:note, "pipes", found, "raise it: `sysctl fs.pipe-user-pages-soft=65536`"}
  end

  defp shared_memory(%{writable: false}) do
    {:note, "/dev/shm",
     "cannot be written: black boxes are in the directory for temporary files instead",
     "if that is on a disk, mount a tmpfs at /dev/shm"}
  end

  defp shared_memory(%{free: free}) when free < @shm do
    {:note, "/dev/shm", "#{Stevedore.Text.bytes(free)} free, for the workers' black boxes",
     "make it larger: --shm-size for Docker"}
  end

  defp shared_memory(%{free: free}),
    do: {:ok, "/dev/shm", "#{Stevedore.Text.bytes(free)} free", nil}

  defp proc(%{limits: limits}) when limits == %{} do
    {:note, "/proc", "is not there: no max_rss, kill_rss, and no telling who ran out of memory",
     "mount it"}
  end

  defp proc(_facts), do: []

  ## The sandbox, as a worker says that it has it (PROTOCOL §6)

  @measures [
    {"seccomp", "seccomp", "the option `confine: [seccomp: …]` has no effect here"},
    {"landlock", "Landlock", "the option `confine: [landlock: …]` has no effect here"},
    {"memory", "memory limit",
     "the option `confine: [memory: …]` has no effect here: it takes a delegated cgroup (v2), such " <>
       "as Delegate=memory in a systemd unit makes"}
  ]

  defp sandbox(%{program: %{hello: {:ok, %{"confinement" => confinement}}}} = facts) do
    for {key, name, without} <- @measures,
        do: measure(confinement[key], key, name, without, facts)
  end

  defp sandbox(_facts), do: []

  defp measure("on", "landlock", name, _without, %{kernel: kernel}) do
    {:ok, name, "can be had" <> landlock_version(numbers(kernel)), nil}
  end

  defp measure("on", _key, name, _without, _facts), do: {:ok, name, "can be had", nil}

  defp measure(why, _key, name, without, _facts),
    do: {:note, name, "cannot be had: #{why}", without}

  # When each version of its interface came; a distribution may have more.
  @landlock [{[6, 12], 6}, {[6, 10], 5}, {[6, 7], 4}, {[6, 2], 3}, {[5, 19], 2}, {[5, 13], 1}]

  defp landlock_version(kernel) do
    case Enum.find(@landlock, fn {since, _abi} -> kernel >= since end) do
      {_since, abi} ->
        ", as of Linux #{kernel |> Enum.take(2) |> Enum.join(".")} ABI #{abi} or later"

      nil ->
        ""
    end
  end

  defp libraries(%{libraries: libraries}) do
    there = for {name, true} <- libraries, do: name
    missing = for {name, false} <- libraries, do: name

    [
      if(there != [],
        do: {:ok, "integrations", "compiled in: " <> Enum.join(there, ", "), nil},
        else: []
      ),
      if(:telemetry in missing,
        do:
          {:note, "telemetry", "Stevedore was compiled without it, and emits no events",
           "if you want them, add {:telemetry, \"~> 1.0\"} and run `mix deps.compile stevedore --force`"},
        else: []
      )
    ]
  end

  ## As text

  @labels %{ok: "ok", note: "note", problem: "BROKEN"}

  @doc "The findings as lines, with what to do below each."
  @spec lines([finding]) :: [String.t()]
  def lines(findings) do
    Enum.flat_map(findings, fn {status, what, found, todo} ->
      line = String.pad_trailing(@labels[status], 8) <> String.pad_trailing(what, 16) <> found
      if todo, do: [line, String.duplicate(" ", 24) <> "→ " <> todo], else: [line]
    end)
  end
end
