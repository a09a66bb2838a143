defmodule Stevedore.Doctor.Facts do
  @moduledoc false
  # What `mix stevedore.doctor` wants to know: of the VM, the system, and the worker program, which it really runs.

  alias Stevedore.{Protocol, Worker.Launch}

  # ms that the program may take to say hello.
  @hello_within 10_000

  @libraries [
    telemetry: :telemetry,
    telemetry_metrics: Telemetry.Metrics,
    opentelemetry_api: :otel_ctx,
    oban: Oban.Worker
  ]

  @doc "`options`: `:executable` and `:plugins` as of a pool."
  @spec gather(keyword) :: map
  def gather(options) do
    executable = options[:executable]
    path = Launch.executable(%{executable: executable})
    hello = hello(path, measures())

    %{
      elixir: System.version(),
      otp: String.to_integer(System.otp_release()),
      erts: to_string(:erlang.system_info(:version)),
      kernel: kernel(),
      user: user(),
      version: to_string(Application.spec(:stevedore, :vsn)),
      protocol: Protocol.version(),
      program: %{path: path, hello: hello},
      job: if(match?({:ok, _}, hello), do: job(executable)),
      plugins: if(match?({:ok, _}, hello), do: plugins(path, options[:plugins] || []), else: []),
      limits: limits(read("/proc/self/limits")),
      pipe_pages: number(read("/proc/sys/fs/pipe-user-pages-soft")),
      shm: shm("/dev/shm"),
      libraries: for({name, module} <- @libraries, do: {name, Code.ensure_loaded?(module)})
    }
  end

  ## The program

  # Asks for all that needs the kernel's help; what cannot be had is said in the answer.
  defp measures, do: ["--seccomp", "strict", "--landlock-none", "--limit-memory", "256M"]

  defp plugins(path, plugins),
    do: for(plugin <- plugins, do: {plugin, plugin_ops(path, Path.expand(plugin))})

  defp plugin_ops(path, plugin) do
    with true <- File.exists?(plugin) || :no_file,
         {:ok, hello} <- hello(path, ["--plugin", plugin]) do
      case for(
             %{"plugin" => name, "name" => op} <- hello["ops"] || [],
             name in plugin_names(hello),
             do: op
           ) do
        [] -> {:ok, ["no ops"]}
        ops -> {:ok, ops}
      end
    end
  end

  defp plugin_names(hello), do: for(%{"name" => name} <- hello["plugins"] || [], do: name)

  @doc "What a worker program answers to hello, started by this VM with these arguments."
  @spec hello(Path.t(), [String.t()]) :: {:ok, map} | {:error, String.t()}
  def hello(path, args) do
    settings = [:binary, :exit_status, packet: 4, args: ["--threads", "1" | args]]
    port = Port.open({:spawn_executable, String.to_charlist(path)}, settings)
    Port.command(port, Protocol.requests([Protocol.plain_call(0, "hello", nil)]))
    answer(port, path, nil)
  rescue
    error in ErlangError -> {:error, Launch.boot_failure({:not_opened, error.original}, path)}
    _error in ArgumentError -> {:error, Launch.boot_failure({:port_closed, :badarg}, path)}
  end

  defp answer(port, path, said) do
    receive do
      {^port, {:data, frame}} ->
        reply(Protocol.messages(frame), port, path, said)

      {^port, {:exit_status, status}} ->
        {:error, Launch.boot_failure({:port_exited, status}, path, said)}
    after
      @hello_within ->
        Port.close(port)
        {:error, Launch.boot_failure({:boot_timeout, @hello_within}, path)}
    end
  end

  # What it logs comes first.
  defp reply({:ok, messages}, port, path, said) do
    case Enum.find(messages, &match?({:reply, 0}, Protocol.route(&1))) do
      nil -> answer(port, path, Enum.find_value(messages, said, &last_words(Protocol.route(&1))))
      reply -> done(Protocol.decode_reply(reply), port, path)
    end
  end

  defp reply(:malformed, port, path, _said), do: done(:malformed, port, path)

  # Why it cannot start (PROTOCOL §5.4).
  defp last_words({:log, :error, text, nil}), do: text
  defp last_words(_other), do: nil

  defp done({:ok, hello, _receipt}, port, _path) do
    Port.close(port)
    {:ok, hello}
  end

  defp done(other, port, path) do
    Port.close(port)
    {:error, Launch.boot_failure(other, path)}
  end

  # One job, all the way; in a process of its own, for a pool that does not start takes its parent along.
  defp job(executable) do
    Task.await(Task.async(fn -> run_job(executable) end), :infinity)
  end

  defp run_job(executable) do
    Process.flag(:trap_exit, true)
    options = [name: __MODULE__, workers: 1, threads: 1, executable: executable]

    with {:ok, pool} <- Stevedore.start_link(options) do
      timed = :timer.tc(fn -> Stevedore.call(__MODULE__, "digest", %{data: "abc"}) end)
      :ok = Supervisor.stop(pool)
      timed
    end
    |> judge()
  end

  defp judge({us, {:ok, _hash}}), do: {:ok, us}
  defp judge({_us, {:error, error}}), do: {:error, Exception.message(error)}
  defp judge({:error, %Stevedore.Error{} = error}), do: {:error, Exception.message(error)}
  defp judge({:error, reason}), do: {:error, inspect(reason)}

  ## The system

  defp kernel do
    {_unix, _linux} = :os.type()
    {major, minor, patch} = :os.version()
    "#{major}.#{minor}.#{patch}"
  end

  defp user do
    with text when is_binary(text) <- read("/proc/self/status"),
         [_, id] <- Regex.run(~r/^Uid:\s+(\d+)/m, text) do
      id
    else
      _unknown -> nil
    end
  end

  @doc "The soft limits in the text of /proc/self/limits, by their names there; unlimited is `:infinity`."
  @spec limits(String.t() | nil) :: %{String.t() => pos_integer | :infinity | :unknown}
  def limits(nil), do: %{}

  def limits(text) do
    for name <- ["Max open files", "Max processes"], into: %{} do
      case Regex.run(~r/^#{name}\s+(\S+)/m, text) do
        [_, "unlimited"] -> {name, :infinity}
        [_, number] -> {name, String.to_integer(number)}
        nil -> {name, :unknown}
      end
    end
  end

  defp shm(directory) do
    with {:ok, %File.Stat{access: :read_write}} <- File.stat(directory),
         {text, 0} <- System.cmd("df", ["-Pk", directory], stderr_to_stdout: true),
         [_, free] <- Regex.run(~r/\n\S+\s+\d+\s+\d+\s+(\d+)\s/, text) do
      %{writable: true, free: String.to_integer(free) * 1024}
    else
      _unknown -> %{writable: false, free: 0}
    end
  end

  defp read(path) do
    case File.read(path) do
      {:ok, text} -> text
      {:error, _reason} -> nil
    end
  end

  defp number(nil), do: nil
  defp number(text), do: text |> String.trim() |> String.to_integer()
end
