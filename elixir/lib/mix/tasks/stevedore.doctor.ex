defmodule Mix.Tasks.Stevedore.Doctor do
  @shortdoc "Checks whether Stevedore can work here"

  @moduledoc """
  Checks whether Stevedore can work here, and says what to do where not.

      mix stevedore.doctor [--plugin FILE]… [--executable FILE]

  It really starts the worker program, with each plugin, and a pool that runs one job. Looked at are versions, limits of the system
  (open files, processes, pipes, `/dev/shm`), what of the sandbox can be had (seccomp, Landlock, memory by cgroup v2), and bugs of this
  OTP.

  Each line is `ok`, a `note` (a limit, or something Stevedore does without) or `BROKEN`. The exit status is 1 if something is
  broken, else 0. Run it as the user, and in the container or unit, in which the application runs: most of it depends on that.
  """

  use Mix.Task

  alias Stevedore.Doctor
  alias Stevedore.Doctor.Facts

  @impl true
  def run(args) do
    options = parse!(args)
    Mix.Task.run("compile", [])
    findings = options |> Facts.gather() |> Doctor.check()
    findings |> Doctor.lines() |> Enum.each(&Mix.shell().info/1)
    if Doctor.broken?(findings), do: exit({:shutdown, 1})
  end

  defp parse!(args) do
    case OptionParser.parse(args, strict: [plugin: :keep, executable: :string]) do
      {options, [], []} ->
        [plugins: Keyword.get_values(options, :plugin), executable: options[:executable]]

      {_options, _rest, [{option, _value} | _]} ->
        Mix.raise("wrong option #{option}: see mix help stevedore.doctor")

      {_options, [argument | _], []} ->
        Mix.raise("wrong argument #{argument}: see mix help stevedore.doctor")
    end
  end
end
