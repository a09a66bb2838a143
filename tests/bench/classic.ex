defmodule Bench.Classic do
  @moduledoc """
  The baseline: a GenServer around one port of the same program, as one writes it in an afternoon. It
  encodes each call, writes a frame for it, decodes each reply and hands it over.
  """

  use GenServer

  @spec start_link(keyword) :: GenServer.on_start()
  def start_link(options) do
    GenServer.start_link(__MODULE__, options[:executable], name: options[:name])
  end

  @spec call(GenServer.server(), String.t(), term) :: {:ok, term} | {:error, term}
  def call(server, op, args), do: GenServer.call(server, {:call, op, args}, 60_000)

  @spec os_pid(GenServer.server()) :: pos_integer
  def os_pid(server), do: GenServer.call(server, :os_pid)

  @impl true
  def init(executable) do
    port = Port.open({:spawn_executable, executable}, [:binary, :exit_status, packet: 4])
    {:ok, %{port: port, next_id: 0, callers: %{}}}
  end

  @impl true
  def handle_call({:call, op, args}, from, state) do
    id = state.next_id
    Port.command(state.port, :erlang.term_to_binary({:call, id, op, args}))
    {:noreply, %{state | next_id: id + 1, callers: Map.put(state.callers, id, from)}}
  end

  def handle_call(:os_pid, _from, state) do
    {:os_pid, os_pid} = Port.info(state.port, :os_pid)
    {:reply, os_pid, state}
  end

  @impl true
  def handle_info({port, {:data, frame}}, %{port: port} = state) do
    {:noreply, handle_message(:erlang.binary_to_term(frame, [:safe]), state)}
  end

  def handle_info({port, {:exit_status, status}}, %{port: port} = state) do
    {:stop, {:port_exited, status}, state}
  end

  defp handle_message({:ok, id, value, _receipt}, state), do: reply(state, id, {:ok, value})

  defp handle_message({:error, id, kind, _details, _}, state),
    do: reply(state, id, {:error, kind})

  defp handle_message(_log, state), do: state

  defp reply(state, id, result) do
    {from, callers} = Map.pop!(state.callers, id)
    GenServer.reply(from, result)
    %{state | callers: callers}
  end
end
