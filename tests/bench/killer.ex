defmodule Bench.Killer do
  @moduledoc "Sends SIGKILL from a shell that is there already: starting `kill` would be measured, too."

  @script "while read pid; do kill -9 $pid; echo killed; done"

  @spec start() :: port
  def start do
    Port.open({:spawn_executable, "/bin/sh"}, [:binary, line: 80, args: ["-c", @script]])
  end

  @doc "Returns when the signal has been sent."
  @spec kill(port, pos_integer) :: :ok
  def kill(port, os_pid) do
    Port.command(port, "#{os_pid}\n")

    receive do
      {^port, {:data, {:eol, "killed"}}} -> :ok
    end
  end

  @spec stop(port) :: true
  def stop(port), do: Port.close(port)
end
