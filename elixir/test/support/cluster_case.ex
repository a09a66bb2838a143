defmodule Stevedore.ClusterCase do
  @moduledoc false
  # Tests with more than one node: this VM becomes one, and others are started beside it, on the loopback interface. Each is
  # controlled over its standard input and output, whatever becomes of the distribution, and ends with it.
  #
  # What is called on a node is in modules that are compiled into files: functions of a test script are only here.

  use ExUnit.CaseTemplate

  alias Stevedore.PoolCase

  defstruct [:peer, :node, :os_pid]

  @address ~c"127.0.0.1"
  @loopback {127, 0, 0, 1}
  @root Path.expand("../../..", __DIR__)

  using do
    quote do
      use Stevedore.PoolCase, async: false
      import Stevedore.ClusterCase
      @moduletag :cluster
    end
  end

  ## This VM as a node

  @doc "Makes this VM a node; `{:error, why}` if it cannot be one."
  def start_distribution do
    with false <- Node.alive?(), {:ok, epmd} <- start_epmd() do
      :ok = :application.set_env(:kernel, :inet_dist_use_interface, @loopback)

      case Node.start(:"stevedore-test-#{System.pid()}@127.0.0.1", :longnames) do
        {:ok, _pid} ->
          true = Node.set_cookie(:"#{Base.encode32(:crypto.strong_rand_bytes(15))}")
          ExUnit.after_suite(fn _results -> stop_distribution(epmd) end)
          :ok

        {:error, reason} ->
          {:error, inspect(reason)}
      end
    else
      true -> :ok
      {:error, why} -> {:error, why}
    end
  end

  # Whoever else uses the daemon keeps it: it does not end while a node is registered.
  defp stop_distribution(:started) do
    _ = Node.stop()
    System.cmd("epmd", ["-kill"], stderr_to_stdout: true)
  end

  defp stop_distribution(:was_there), do: Node.stop()

  defp start_epmd do
    cond do
      epmd_answers?() -> {:ok, :was_there}
      System.find_executable("epmd") == nil -> {:error, "there is no epmd"}
      true -> start_daemon()
    end
  end

  defp start_daemon do
    {_, _} = System.cmd("epmd", ["-daemon", "-address", "127.0.0.1"], stderr_to_stdout: true)

    if Enum.any?(1..100, fn _ -> epmd_answers?() || (Process.sleep(20) && false) end),
      do: {:ok, :started},
      else: {:error, "epmd does not start"}
  end

  defp epmd_answers?, do: match?({:ok, _names}, :erl_epmd.names(@loopback))

  ## Other nodes

  @doc "Starts a node, connected to this one; it ends with the test."
  def start_peer!(options \\ []) do
    {:ok, peer, node} =
      :peer.start(%{
        name: :peer.random_name(),
        host: @address,
        longnames: true,
        connection: :standard_io,
        args: arguments(Keyword.get(options, :paths, :code.get_path()))
      })

    os_pid = peer |> :peer.call(:os, :getpid, []) |> List.to_integer()
    peer = %__MODULE__{peer: peer, node: node, os_pid: os_pid}
    ExUnit.Callbacks.on_exit(fn -> stop_peer(peer) end)

    if options[:paths] == nil do
      {:ok, _} = run(peer, Application, :ensure_all_started, [:stevedore])
      :ok = run(peer, Logger, :configure, [[level: :none]])
    end

    true = Node.connect(node)
    peer
  end

  defp arguments(paths) do
    cookie = Atom.to_charlist(Node.get_cookie())

    [~c"-setcookie", cookie, ~c"-connect_all", ~c"false"] ++
      [~c"-kernel", ~c"inet_dist_use_interface", ~c"{127,0,0,1}", ~c"logger_level", ~c"none"] ++
      Enum.flat_map(paths, &[~c"-pa", &1])
  end

  @doc "Ends a node, whatever state it is in."
  def stop_peer(%__MODULE__{peer: peer, os_pid: os_pid}) do
    _ = System.cmd("kill", ["-KILL", "#{os_pid}"], stderr_to_stdout: true)
    if Process.alive?(peer), do: :peer.stop(peer)
  catch
    :exit, _gone -> :ok
  end

  @doc "Calls a function on a node, over its standard input."
  def run(%__MODULE__{peer: peer}, module, fun, args),
    do: :peer.call(peer, module, fun, args, 60_000)

  @doc "As `run/4`, without waiting for an answer that may never come."
  def run_cast(%__MODULE__{peer: peer}, module, fun, args),
    do: :peer.cast(peer, module, fun, args)

  @doc "Sends the node's operating system process a signal."
  def signal!(%__MODULE__{os_pid: os_pid}, signal), do: PoolCase.kill!(os_pid, signal)

  @doc "Starts a child on a node, which stays until it is stopped by the result of this, or the node ends."
  def start_on!(peer, child), do: run(peer, __MODULE__, :hold, [child])

  @doc false
  def hold(child) do
    caller = self()
    ref = make_ref()

    holder =
      spawn(fn ->
        {:ok, supervisor} = Supervisor.start_link([child], strategy: :one_for_one)
        send(caller, ref)
        receive do: (:stop -> Supervisor.stop(supervisor))
      end)

    receive do
      ^ref -> holder
    after
      30_000 -> exit(:did_not_start)
    end
  end

  @doc "Starts a pool on a node, one worker with one thread unless it is said otherwise."
  def start_pool_on!(peer, options) do
    defaults = [workers: 1, threads: 1, executable: PoolCase.executable(), drain_timeout: 1_000]
    start_on!(peer, {Stevedore, Keyword.merge(defaults, options)})
  end

  @doc "How many processes on a node stand in for callers of other nodes."
  def proxies(peer), do: run(peer, __MODULE__, :count_proxies, [])

  @doc false
  def count_proxies do
    Enum.count(Process.list(), &match?({Stevedore.Remote.Proxy, _pool}, :proc_lib.get_label(&1)))
  end

  ## The ledger: what really ran

  @doc "The ledger plugin, compiled once for a test module."
  def compile_ledger! do
    path = Path.join(System.tmp_dir!(), "stevedore-ledger-#{System.pid()}.so")

    unless File.exists?(path) do
      include = "-I#{Path.join(@root, "port/include")}"
      source = Path.join(@root, "tests/plugins/ledger.c")

      {output, 0} =
        System.cmd("cc", ["-shared", "-fPIC", "-D_GNU_SOURCE", include, "-o", path, source])

      "" = output
      ExUnit.after_suite(fn _results -> File.rm(path) end)
    end

    path
  end

  @doc "An empty ledger for the test, and the options of a pool that writes it."
  def new_ledger! do
    path =
      Path.join(
        System.tmp_dir!(),
        "stevedore-ledger-#{System.unique_integer([:positive])}-#{System.pid()}"
      )

    File.write!(path, "")
    ExUnit.Callbacks.on_exit(fn -> File.rm(path) end)
    {path, plugins: [compile_ledger!()], env: [{"STEVEDORE_LEDGER", path}]}
  end

  @doc "The ledger's lines: `{:start, key}` and `{:end, key, how}`."
  def ledger(path) do
    for line <- path |> File.read!() |> String.split("\n", trim: true) do
      case String.split(line) do
        ["start", key, _pid, _tid, _ns] -> {:start, key}
        ["end", key, _pid, _tid, _ns, how] -> {:end, key, how}
      end
    end
  end

  @doc "Waits until the ledger has that line."
  def await_line(path, line), do: PoolCase.eventually(fn -> line in ledger(path) end)

  ## Nothing is left

  @doc "That this process has no message, monitor or link but those it had, and the node no proxy."
  def assert_nothing_left(peer) do
    PoolCase.eventually(fn -> proxies(peer) == 0 end)
    {:messages, messages} = Process.info(self(), :messages)
    {:monitors, monitors} = Process.info(self(), :monitors)
    ExUnit.Assertions.assert(messages == [])
    ExUnit.Assertions.assert(monitors == [])
  end
end
