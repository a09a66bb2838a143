defmodule Stevedore.Worker.Launch do
  @moduledoc false
  # Pool options → what Port.open is given, and what a failed start means, in words. Pure.

  alias Stevedore.Confinement

  @doc "The first and second argument of `Port.open/2`, for a worker whose black box is to be at that path."
  @spec port(map, Path.t()) :: {{:spawn_executable, charlist}, list}
  def port(options, black_box) do
    settings = [
      :binary,
      :exit_status,
      packet: 4,
      # A port that is busy suspends who sends to it. A worker keeps limits, above all those of a process that reads
      # nothing, so it must never be. What would wait in its mailbox waits in the port's queue instead.
      busy_limits_port: :disabled,
      args: args(options, black_box),
      env: env(options.env)
    ]

    {{:spawn_executable, String.to_charlist(executable(options))}, settings}
  end

  @doc "The path of the worker program."
  @spec executable(map) :: String.t()
  def executable(%{executable: nil}), do: Application.app_dir(:stevedore, "priv/stevedore")
  def executable(%{executable: path}), do: Path.expand(path)

  @doc "The command line of the worker program."
  @spec args(map, Path.t()) :: [String.t()]
  def args(options, black_box) do
    option("--threads", options.threads) ++
      option("--max-queue", native_queue(options.max_queue)) ++
      option("--max-frame", options.max_frame) ++
      option("--kill-after", options.kill_after) ++
      ["--black-box", black_box] ++
      Confinement.args(options.confine) ++
      Enum.flat_map(options.plugins, &["--plugin", Path.expand(&1)]) ++
      options.args
  end

  # The pool's bound is kept before a job is sent. What moves between workers has been let in already, and no
  # worker may refuse it.
  defp native_queue(max_queue), do: min(max_queue + 65_536, 16_777_216)

  defp option(_name, nil), do: []
  defp option(name, number), do: [name, Integer.to_string(number)]

  defp env(variables) do
    for {name, value} <- variables do
      {String.to_charlist(name), value && String.to_charlist(value)}
    end
  end

  @doc "Why a worker did not get ready, and what to do about it. `said` is the program's own reason (PROTOCOL §5.4)."
  @spec boot_failure(term, String.t(), said :: String.t() | nil) :: String.t()
  def boot_failure(reason, path, said \\ nil)

  def boot_failure({:port_exited, status}, path, said) when is_binary(said) do
    "#{path} ended before it answered hello: #{said} (#{exit_status(status)})"
  end

  def boot_failure(reason, path, _said), do: boot_failure_of(reason, path)

  defp boot_failure_of({:not_opened, :enoent}, path) do
    "there is no worker program at #{path}: build it (`mix compile` does, unless STEVEDORE_BUILD=skip), " <>
      "or say where it is with the option :executable"
  end

  defp boot_failure_of({:not_opened, :eacces}, path) do
    "the worker program #{path} may not be executed: `chmod +x` it, and check that its file system is not " <>
      "mounted noexec"
  end

  defp boot_failure_of({:not_opened, reason}, path)
       when reason in [:emfile, :enfile, :enomem, :eagain, :system_limit] do
    "the system refused to start #{path} (#{reason}): raise its limits on open files, processes or memory"
  end

  defp boot_failure_of({:port_exited, status}, path) when status in 64..77 or status > 128 do
    "#{path} ended before it answered hello: #{exit_status(status)}; what it printed is on the VM's stderr"
  end

  defp boot_failure_of({:port_exited, status}, path) do
    "#{path} ended before it answered hello (#{exit_status(status)}): is it a Stevedore worker? " <>
      "What it printed is on the VM's stderr"
  end

  defp boot_failure_of({:port_closed, _reason}, path) do
    "#{path} ended before it answered hello; what it printed is on the VM's stderr"
  end

  defp boot_failure_of({:boot_timeout, ms}, path) do
    "#{path} did not answer hello within #{ms} ms: is it a Stevedore worker? Raise :boot_timeout if it is just slow"
  end

  defp boot_failure_of({:protocol_version, version}, path) do
    "#{path} speaks version #{inspect(version)} of the protocol, this library version " <>
      "#{Stevedore.Protocol.version()} (PROTOCOL §6): use a program and a library of the same release"
  end

  defp boot_failure_of({:malformed, frame}, path) do
    "#{path} sent something that is no message (PROTOCOL §5), is it a Stevedore worker? It begins #{inspect(frame)}"
  end

  defp boot_failure_of(reason, path), do: "#{path} could not be used: #{inspect(reason)}"

  @doc "An exit status in words (PROTOCOL §11.1)."
  @spec exit_status(non_neg_integer) :: String.t()
  def exit_status(0), do: "exit code 0, an orderly end"

  def exit_status(64),
    do: "exit code 64, wrong command line: check :args and the paths of :confine"

  def exit_status(65), do: "exit code 65, broken stream"
  def exit_status(69), do: "exit code 69, a plugin cannot be used: check :plugins"
  def exit_status(70), do: "exit code 70, a bug in the worker"

  def exit_status(71),
    do:
      "exit code 71, the system refused what it needs to start: threads, pipes, room for its black box in /dev/shm, " <>
        "or what :confine requires"

  def exit_status(74), do: "exit code 74, stdin or stdout failed"
  def exit_status(75), do: "exit code 75, ended by its own watchdog"
  def exit_status(76), do: "exit code 76, an op or a library in it called exit()"
  def exit_status(77), do: "exit code 77, out of memory"

  def exit_status(status) when status > 128 do
    case signal(status - 128) do
      nil -> "killed by signal #{status - 128}"
      name -> "killed by #{name}"
    end
  end

  def exit_status(status), do: "exit code #{status}"

  defp signal(3), do: "SIGQUIT"
  defp signal(4), do: "SIGILL"
  defp signal(6), do: "SIGABRT"
  defp signal(7), do: "SIGBUS"
  defp signal(8), do: "SIGFPE"
  defp signal(9), do: "SIGKILL (by someone, or because memory ran out)"
  defp signal(11), do: "SIGSEGV"
  defp signal(15), do: "SIGTERM"
  defp signal(_number), do: nil
end
