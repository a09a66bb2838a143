defmodule Bench.Late do
  @moduledoc """
  The other way to schedule, as a prototype: late binding. One process owns all workers and keeps the queue; a worker gets
  a job only when one of its threads is free. It uses the library's own codec and batches, and knows nothing of
  deadlines, deaths or cancelling, so it is as fast as this can be.
  """

  use GenServer

  alias Stevedore.Protocol

  @spec start_link(keyword) :: GenServer.on_start()
  def start_link(options) do
    GenServer.start_link(__MODULE__, options,
      name: options[:name],
      spawn_opt: [min_heap_size: 16_384, message_queue_data: :off_heap]
    )
  end

  @spec call(atom, String.t(), term) :: {:ok, term} | {:error, term}
  def call(server, op, args) do
    ref = :erlang.alias([:reply])
    send(server, {:call, ref, Protocol.encode_call(op, args)})

    receive do
      {^ref, message} ->
        case Protocol.decode_reply(message) do
          {:ok, value, _receipt} -> {:ok, value}
          {:error, kind, _details, _receipt} -> {:error, kind}
        end
    end
  end

  @impl true
  def init(options) do
    threads = options[:threads]
    program = {:spawn_executable, String.to_charlist(options[:executable])}
    settings = [:binary, :exit_status, packet: 4, args: ["--threads", "#{threads}"]]
    free = for _ <- 1..options[:workers], into: %{}, do: {Port.open(program, settings), threads}
    {:ok, %{free: free, queue: :queue.new(), waiting: %{}, next_id: 0}}
  end

  @impl true
  def handle_info({:call, ref, body}, state) do
    _ = :erlang.yield()
    {:noreply, ref |> enqueue(body, state) |> take_others() |> hand_out()}
  end

  def handle_info({port, {:data, frame}}, state) do
    {:ok, messages} = Protocol.messages(frame)
    {:noreply, messages |> Enum.reduce(state, &reply(&1, port, &2)) |> hand_out()}
  end

  defp take_others(state) do
    receive do
      {:call, ref, body} -> ref |> enqueue(body, state) |> take_others()
    after
      0 -> state
    end
  end

  defp enqueue(ref, body, %{next_id: id} = state) do
    call = %{id: id, body: body, options: <<116, 0::32>>}

    %{
      state
      | queue: :queue.in({ref, call}, state.queue),
        next_id: Bitwise.band(id + 1, 0x7FFFFFFF)
    }
  end

  defp reply(message, port, state) do
    {:reply, id} = Protocol.route(message)
    {ref, waiting} = Map.pop!(state.waiting, id)
    send(ref, {ref, message})
    %{state | waiting: waiting, free: Map.update!(state.free, port, &(&1 + 1))}
  end

  # To the worker with the most free threads, as many as it has.
  defp hand_out(state) do
    {port, free} = Enum.max_by(state.free, &elem(&1, 1))

    if free > 0 and not :queue.is_empty(state.queue),
      do: state |> give(port, min(free, 64), []) |> hand_out(),
      else: state
  end

  defp give(state, port, left, calls) do
    case left > 0 and :queue.out(state.queue) do
      {{:value, {ref, call}}, queue} ->
        waiting = Map.put(state.waiting, call.id, ref)
        give(%{state | queue: queue, waiting: waiting}, port, left - 1, [call | calls])

      _nothing_left ->
        send(port, {self(), {:command, Protocol.requests(calls)}})
        %{state | free: Map.update!(state.free, port, &(&1 - length(calls)))}
    end
  end
end
