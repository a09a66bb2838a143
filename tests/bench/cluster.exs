# What a call to another node costs: `cd elixir && MIX_ENV=prod mix run ../tests/bench/cluster.exs`, with epmd running.
#
# The other node is on this machine, so the way there is the loopback interface: what is measured is encoding, copying
# and waking up, not a network. `checksum` sends the payload one way, `echo` both.

defmodule ClusterBench do
  @sizes [{"1 KiB", 1_024, 2_000}, {"1 MiB", 1_048_576, 200}, {"64 MiB", 67_108_864, 12}]
  @pool ClusterBench.Pool
  @options [name: @pool, workers: 1, threads: 1, max_frame: 134_217_728]

  def main do
    node = start_peer()
    {:ok, _} = Stevedore.start_link(@options)
    IO.puts("| payload | op | here | `{pool, node}` | more |\n|---|---|---|---|---|")

    for {name, size, times} <- @sizes, op <- ["checksum", "echo"] do
      data = :crypto.strong_rand_bytes(size)
      # In turns, so that what else the machine does befalls both.
      {here, there} =
        Enum.unzip(for _ <- 1..times, do: {time(@pool, op, data), time({@pool, node}, op, data)})

      # The fastest of all: whatever else goes on only adds to it.
      {here, there} = {Enum.min(here), Enum.min(there)}
      IO.puts("| #{name} | #{op} | #{ms(here)} | #{ms(there)} | #{ms(there - here)} |")
    end
  end

  defp time(pool, "checksum", data) do
    measure(fn -> Stevedore.call!(pool, "digest", %{algorithm: "crc32", data: data}) end)
  end

  defp time(pool, "echo", data), do: measure(fn -> Stevedore.call!(pool, "echo", data) end)

  # Without the collection of what the last call has left.
  defp measure(fun) do
    :erlang.garbage_collect()
    {us, _result} = :timer.tc(fun)
    us
  end

  defp ms(us), do: :erlang.float_to_binary(us / 1000, decimals: 2) <> " ms"

  defp start_peer do
    :ok = :application.set_env(:kernel, :inet_dist_use_interface, {127, 0, 0, 1})
    {:ok, _} = Node.start(:"stevedore-bench-#{System.pid()}@127.0.0.1", :longnames)
    paths = Enum.flat_map(:code.get_path(), &[~c"-pa", &1])
    cookie = [~c"-setcookie", Atom.to_charlist(Node.get_cookie())]
    loopback = [~c"-kernel", ~c"inet_dist_use_interface", ~c"{127,0,0,1}"]

    {:ok, peer, node} =
      :peer.start_link(%{
        name: :peer.random_name(),
        host: ~c"127.0.0.1",
        longnames: true,
        connection: :standard_io,
        args: cookie ++ loopback ++ paths
      })

    {:ok, _} = :peer.call(peer, Application, :ensure_all_started, [:stevedore])
    true = Node.connect(node)
    # A supervisor that is there on every node: whoever asks for the pool by :erpc does not stay.
    {:ok, _} =
      :erpc.call(node, :supervisor, :start_child, [
        :kernel_safe_sup,
        Stevedore.child_spec(@options)
      ])

    node
  rescue
    error in MatchError ->
      IO.puts(:stderr, "no second node: #{inspect(error.term)} (is epmd running? `epmd -daemon`)")
      exit({:shutdown, 1})
  end
end

ClusterBench.main()
