defmodule Stevedore.CommandLine do
  @moduledoc false
  # The worker program's own commands, for mix tasks: what it prints is passed on as it is, and so is its exit status.

  alias Stevedore.Worker.Launch

  @doc "Ends the calling process with `{:shutdown, status}` if the status is not 0."
  @spec run(String.t(), [String.t()]) :: :ok | no_return
  def run(command, args) do
    {executable, args} = executable(args, [])

    if "@-" in args or "--data=@-" in args,
      do: Mix.raise("--data @- cannot be used here: name a file")

    Mix.Task.run("compile", [])

    case program(Launch.executable(%{executable: executable}), [command | args]) do
      0 -> :ok
      status -> exit({:shutdown, status})
    end
  end

  defp program(path, args) do
    {_output, status} = System.cmd(path, args, into: IO.binstream(:stdio, :line))
    status
  rescue
    error in ErlangError -> Mix.raise(Launch.boot_failure({:not_opened, error.original}, path))
  end

  defp executable(["--executable", path | rest], args), do: {path, Enum.reverse(args, rest)}
  defp executable(["--executable=" <> path | rest], args), do: {path, Enum.reverse(args, rest)}
  defp executable([arg | rest], args), do: executable(rest, [arg | args])
  defp executable([], args), do: {nil, Enum.reverse(args)}
end
