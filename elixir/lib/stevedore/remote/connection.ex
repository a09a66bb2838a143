defmodule Stevedore.Remote.Connection do
  @moduledoc false
  # Whether a node can be reached, asked before anything is sent: then what is lost with a connection was lost after it
  # was there. A node that is not connected is connected to, but the caller does not wait for it longer than it wants
  # to: with a machine that does not answer, connecting takes seconds.

  alias Stevedore.Dispatch

  @spec ensure(node, pos_integer) :: :ok | {:error, Dispatch.refusal()}
  def ensure(node, patience) do
    cond do
      node in :erlang.nodes(:connected) ->
        :ok

      Node.alive?() ->
        connect(node, patience)

      true ->
        {:error, refusal(node, "this node is not distributed: start it with --name or --sname")}
    end
  end

  defp connect(node, patience) do
    {pid, monitor} = spawn_monitor(fn -> exit({:connected, Node.connect(node)}) end)

    receive do
      {:DOWN, ^monitor, :process, ^pid, {:connected, true}} ->
        :ok

      {:DOWN, ^monitor, :process, ^pid, _reason} ->
        {:error, refusal(node, "it is down, has another cookie, or cannot be reached")}
    after
      patience ->
        Process.exit(pid, :kill)
        _ = Process.demonitor(monitor, [:flush])
        {:error, refusal(node, "it does not answer (for #{patience} ms)")}
    end
  end

  defp refusal(node, why), do: {:unavailable, "no connection to the node #{node}: #{why}", %{}}
end
