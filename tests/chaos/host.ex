defmodule Chaos.Host do
  @moduledoc "The processes of this machine, as /proc has them: which are workers, and what becomes of them."

  @doc "The processes of that executable: `%{pid, state}`, by their own state letters (proc(5))."
  @spec workers(Path.t()) :: [%{pid: integer, state: String.t()}]
  def workers(executable) do
    for pid <- pids(), worker?(pid, executable), {:ok, state, _parent} <- [status(pid)] do
      %{pid: pid, state: state}
    end
  end

  @doc "Whether that process runs that executable, still."
  @spec worker?(integer, Path.t()) :: boolean
  def worker?(pid, executable), do: File.read_link("/proc/#{pid}/exe") == {:ok, executable}

  @doc "Children of this BEAM, or of the process that starts its ports, that nobody has waited for."
  @spec zombies() :: [integer]
  def zombies do
    beam = System.pid() |> String.to_integer()
    all = for pid <- pids(), {:ok, state, parent} <- [status(pid)], do: {pid, state, parent}
    parents = [beam | for({pid, _state, ^beam} <- all, do: pid)]
    for {pid, "Z", parent} <- all, parent in parents, do: pid
  end

  @doc "How many descriptors this BEAM has open."
  @spec descriptors() :: [String.t()]
  def descriptors do
    for fd <- File.ls!("/proc/self/fd"),
        {:ok, what} <- [File.read_link("/proc/self/fd/#{fd}")],
        do: what
  end

  defp pids, do: for(name <- File.ls!("/proc"), {pid, ""} <- [Integer.parse(name)], do: pid)

  # The name in parentheses may hold anything.
  defp status(pid) do
    with {:ok, text} <- File.read("/proc/#{pid}/stat") do
      [_name, rest] = :string.split(text, ") ", :trailing)
      [state, parent | _more] = String.split(rest, " ")
      {:ok, state, String.to_integer(parent)}
    end
  end
end
