defmodule Mix.Tasks.Stevedore.Ops do
  @shortdoc "Lists the ops of the worker program"

  @moduledoc """
  Lists the ops of the worker program and of plugins, with their flags and docs.

      mix stevedore.ops [--plugin FILE]… [--json]

  All arguments go to the program's own command `stevedore ops`; `mix stevedore.ops --help` shows them. With
  `--executable FILE` that program is asked, else the one that was built with this library.
  """

  use Mix.Task

  @impl true
  def run(args), do: Stevedore.CommandLine.run("ops", args)
end
