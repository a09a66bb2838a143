defmodule Stevedore.Worker.Host do
  @moduledoc false
  # What the operating system knows about a worker's process. Where it has no /proc the answers are `nil`.

  @doc "Bytes of memory that the process has resident."
  @spec rss(pos_integer) :: non_neg_integer | nil
  def rss(os_pid) do
    with {:ok, text} <- File.read("/proc/#{os_pid}/status"),
         [_, kib] <- Regex.run(~r/^VmRSS:\s+(\d+) kB/m, text) do
      String.to_integer(kib) * 1024
    else
      _unknown -> nil
    end
  end

  @doc """
  How often the kernel has killed for want of memory: in the process's own control group if that can be
  told, else on the whole machine. What counts is the difference of two readings.
  """
  @spec oom_kills(cgroup :: String.t() | nil) :: non_neg_integer | nil
  def oom_kills(cgroup) do
    read_counter(
      cgroup && Path.join(["/sys/fs/cgroup", cgroup, "memory.events"]),
      ~r/^oom_kill (\d+)/m
    ) ||
      read_counter("/proc/vmstat", ~r/^oom_kill (\d+)/m)
  end

  @doc "The control group (v2) of a process."
  @spec cgroup(pos_integer) :: String.t() | nil
  def cgroup(os_pid) do
    with {:ok, text} <- File.read("/proc/#{os_pid}/cgroup"),
         [_, path] <- Regex.run(~r/^0::(.*)$/m, text) do
      path
    else
      _unknown -> nil
    end
  end

  defp read_counter(nil, _pattern), do: nil

  defp read_counter(path, pattern) do
    with {:ok, text} <- File.read(path), [_, count] <- Regex.run(pattern, text) do
      String.to_integer(count)
    else
      _unknown -> nil
    end
  end

  # The program moves its stdin to a higher descriptor, before it opens others.
  @stdin_among 0..9

  @doc """
  The process's stdin, opened once more; closed with the calling process. As long as somebody can read from it, writing does not
  fail when the process has died. A port whose write fails ends at once, and never tells the exit status.
  """
  @spec hold_stdin(pos_integer) :: :file.fd() | nil
  def hold_stdin(os_pid) do
    with fd when fd != nil <- Enum.find(@stdin_among, &reads_from_pipe?(os_pid, &1)),
         {:ok, file} <- :file.open("/proc/#{os_pid}/fd/#{fd}", [:read, :raw, :binary]) do
      file
    else
      _unknown -> nil
    end
  end

  defp reads_from_pipe?(os_pid, fd) do
    with {:ok, "pipe:" <> _} <- File.read_link("/proc/#{os_pid}/fd/#{fd}"),
         {:ok, info} <- File.read("/proc/#{os_pid}/fdinfo/#{fd}") do
      # O_RDONLY is 0 in the last octal digit.
      info =~ ~r/^flags:\s+[0-7]*[04]$/m
    else
      _other -> false
    end
  end

  @doc "Whether the process with that id has this text on its command line: an id may be another's by now."
  @spec runs?(pos_integer, String.t()) :: boolean
  def runs?(os_pid, text) do
    case File.read("/proc/#{os_pid}/cmdline") do
      {:ok, command} -> String.contains?(command, text)
      {:error, _reason} -> false
    end
  end

  @doc "Kills a worker's process and all of its group, which it leads."
  @spec kill(pos_integer) :: :ok
  def kill(os_pid) do
    _ = System.cmd("/bin/sh", ["-c", "kill -s KILL -- -#{os_pid}"], stderr_to_stdout: true)
    :ok
  end
end
