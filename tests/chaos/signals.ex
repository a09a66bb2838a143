defmodule Chaos.Signals do
  @moduledoc "Sends signals from a shell that is there already, for starting `kill` each time takes longer than what is to be hit."

  @script ~S(while read signal pid; do kill -s "$signal" "$pid" 2>/dev/null; echo sent; done)

  @spec start() :: port
  def start do
    Port.open({:spawn_executable, "/bin/sh"}, [:binary, line: 80, args: ["-c", @script]])
  end

  @doc "Returns when the signal has been sent. Only for the port's owner."
  @spec send(port, integer, :KILL | :STOP | :CONT) :: :ok
  def send(port, pid, signal) do
    true = Port.command(port, "#{signal} #{pid}\n")

    receive do
      {^port, {:data, {:eol, "sent"}}} -> :ok
    end
  end

  @spec stop(port) :: true
  def stop(port), do: Port.close(port)
end
