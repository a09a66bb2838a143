defmodule Mix.Tasks.Stevedore.Call do
  @shortdoc "Runs one job"

  @moduledoc """
  Runs one job in a worker of its own and prints the result as a line of JSON.

      mix stevedore.call OP [JSON] [options]

      mix stevedore.call digest '{"algorithm": "sha256", "data": "abc"}'
      mix stevedore.call digest --data @mix.exs
      mix stevedore.call thumbnail '{"path": "in.png"}' --plugin priv/thumbnail.so --timeout 5000

  All arguments go to the program's own command `stevedore call`; `mix stevedore.call --help` shows them. With
  `--executable FILE` that program is used. Its stdin is not this one's: instead of `--data @-` name a file.

  If the job fails its error is printed on stderr as JSON, and the exit status is 1.
  """

  use Mix.Task

  @impl true
  def run(args), do: Stevedore.CommandLine.run("call", args)
end
