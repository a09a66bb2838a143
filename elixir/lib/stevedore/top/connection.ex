defmodule Stevedore.Top.Connection do
  @moduledoc false
  # From the name on a command line to a connected node. This VM becomes a hidden node that listens to nobody.

  @spec connect(String.t() | nil, cookie :: String.t() | nil) ::
          {:ok, node} | {:error, String.t()}
  def connect(nil, cookie) do
    case local_nodes() do
      [] ->
        {:error,
         "no node was named, and epmd knows none on this machine: mix stevedore.top NAME@HOST"}

      names ->
        with_pools(names, cookie)
    end
  end

  def connect(name, cookie) do
    target = full_name(name)

    with :ok <- start(target), do: reach(target, cookie)
  end

  defp local_nodes do
    case :erl_epmd.names() do
      {:ok, names} -> for {name, _port} <- names, do: to_string(name)
      {:error, _reason} -> []
    end
  end

  # Those that can be reached and have pools.
  defp with_pools(names, cookie) do
    reached = for name <- names, {:ok, node} <- [connect(name, cookie)], pools?(node), do: node

    case reached do
      [node] ->
        {:ok, node}

      [] ->
        {:error,
         "no node was named; none of #{Enum.join(names, ", ")} can be reached and has pools"}

      nodes ->
        {:error, "no node was named; there are #{Enum.join(nodes, ", ")}"}
    end
  end

  defp pools?(node) do
    :erpc.call(node, Stevedore, :pools, [], 5_000) != []
  rescue
    _error in ErlangError -> false
  end

  @doc "With the host, if it has none: this one's."
  @spec full_name(String.t()) :: node
  def full_name(name) do
    if String.contains?(name, "@") do
      String.to_atom(name)
    else
      {:ok, host} = :inet.gethostname()
      String.to_atom("#{name}@#{host}")
    end
  end

  @doc "Short or long names: as the other one has."
  @spec domain(node) :: :shortnames | :longnames
  def domain(node) do
    [_name, host] = node |> Atom.to_string() |> String.split("@", parts: 2)
    if String.contains?(host, "."), do: :longnames, else: :shortnames
  end

  defp start(target) do
    options = %{name_domain: domain(target), hidden: true, dist_listen: false}

    cond do
      Node.alive?() ->
        :ok

      match?({:ok, _pid}, :net_kernel.start(:undefined, options)) ->
        :ok

      true ->
        {:error,
         "this VM cannot become a node: is there a cookie (~/.erlang.cookie), and a host name?"}
    end
  end

  defp reach(target, cookie) do
    if cookie, do: Node.set_cookie(target, String.to_atom(cookie))

    case Node.connect(target) do
      true ->
        {:ok, target}

      _no ->
        {:error,
         "#{target} cannot be reached: is it running, is that its whole name (`node()` there), and is the cookie " <>
           "the same (--cookie, or ~/.erlang.cookie)?"}
    end
  end
end
