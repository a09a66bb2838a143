defmodule Bench.Bare do
  @moduledoc """
  The ceiling: one process that owns an `echo_port`, passes binaries on as they are, and gives the
  echoes back in order. Nothing is encoded, decoded or looked up, and nothing can fail.
  """

  # As in Stevedore's own port, so that large frames do not suspend the owner.
  @busy_limits {1_048_576, 4_194_304}

  @spec child_spec(keyword) :: Supervisor.child_spec()
  def child_spec(options), do: %{id: __MODULE__, start: {__MODULE__, :start_link, [options]}}

  @spec start_link(keyword) :: {:ok, pid}
  def start_link(options) do
    :proc_lib.start_link(__MODULE__, :init, [options[:name], options[:executable]])
  end

  @doc false
  @spec init(atom, Path.t()) :: no_return
  def init(name, executable) do
    Process.register(self(), name)
    port = open(executable)
    :proc_lib.init_ack({:ok, self()})
    loop(port, :queue.new())
  end

  @spec echo(atom, binary) :: {:ok, binary}
  def echo(name, payload) do
    ref = Process.monitor(name, alias: :reply_demonitor)
    send(name, {:echo, ref, payload})

    receive do
      {^ref, echo} -> {:ok, echo}
      {:DOWN, ^ref, :process, _pid, reason} -> exit(reason)
    end
  end

  @spec os_pid(atom) :: pos_integer
  def os_pid(name) do
    {:links, links} = name |> Process.whereis() |> Process.info(:links)
    {:os_pid, os_pid} = links |> Enum.find(&is_port/1) |> Port.info(:os_pid)
    os_pid
  end

  defp open(executable) do
    Port.open({:spawn_executable, executable}, [
      :binary,
      :exit_status,
      packet: 4,
      busy_limits_port: @busy_limits
    ])
  end

  defp loop(port, callers) do
    receive do
      {:echo, ref, payload} ->
        Port.command(port, payload)
        loop(port, :queue.in(ref, callers))

      {^port, {:data, echo}} ->
        {{:value, ref}, callers} = :queue.out(callers)
        send(ref, {ref, echo})
        loop(port, callers)

      {^port, {:exit_status, status}} ->
        exit({:port_exited, status})
    end
  end
end
