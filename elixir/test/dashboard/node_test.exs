if Code.ensure_loaded?(Phoenix.LiveDashboard.Router) do
  defmodule Stevedore.LiveDashboard.NodeTest do
    # This node gets a name.
    use Stevedore.PoolCase

    import Phoenix.ConnTest
    import Phoenix.LiveViewTest

    alias Stevedore.DashboardApp

    @moduletag :live_dashboard
    @endpoint DashboardApp.Endpoint

    setup_all do
      {_output, 0} = System.cmd("epmd", ["-daemon"])
      unless Node.alive?(), do: {:ok, _pid} = Node.start(:"stevedore-#{System.pid()}@127.0.0.1")
      DashboardApp.start()
      :ok
    end

    test "the page of another node, which has Stevedore and no LiveDashboard: its pools, its quarantine" do
      other = start_node!([:telemetry, :stevedore])

      {:ok, view, _html} = live(build_conn(), "/dashboard/#{other}/stevedore")
      assert has_element?(view, "#stevedore-pools", "No pool runs on #{other}.")

      options = [
        name: There.Pool,
        workers: 1,
        quarantine: [deaths: 1, window: 60_000, for: 60_000]
      ]

      child = Stevedore.child_spec(pool_options(options ++ [plugins: [plugin("fault")]]))
      {:ok, _pool} = :erpc.call(other, Supervisor, :start_child, [:kernel_safe_sup, child])
      crash = [There.Pool, "fault.crash", %{signal: "SEGV"}]
      {:error, %{kind: :crashed}} = :erpc.call(other, Stevedore, :call, crash)

      {:ok, view, _html} = live(build_conn(), "/dashboard/#{other}/stevedore")
      assert has_element?(view, "#stevedore-pools", "There.Pool")
      assert has_element?(view, "#stevedore-deaths", "SIGSEGV at 0x0")

      view |> element("#stevedore-quarantine button") |> render_click()
      assert has_element?(view, "#stevedore-quarantine", "No job is quarantined.")
      assert {:ok, %{quarantined: []}} = :erpc.call(other, Stevedore, :stats, [There.Pool])
    end

    test "a node without Stevedore is not asked" do
      other = start_node!([])
      assert {:error, {:live_redirect, _to}} = live(build_conn(), "/dashboard/#{other}/stevedore")
    end

    # Linked to the test. It has these applications, Elixir's own, and no other.
    defp start_node!(applications) do
      code =
        for application <- [:elixir, :logger] ++ applications,
            argument <- [~c"-pa", :filename.join(:code.lib_dir(application), ~c"ebin")],
            do: argument

      {:ok, _peer, node} =
        :peer.start_link(%{
          name: :"peer-#{System.unique_integer([:positive])}-#{System.pid()}",
          host: ~c"127.0.0.1",
          longnames: true,
          args: [~c"-setcookie", Atom.to_charlist(Node.get_cookie())] ++ code
        })

      # Stevedore itself is but modules.
      for application <- [:logger | applications -- [:stevedore]] do
        {:ok, _started} = :erpc.call(node, Application, :ensure_all_started, [application])
      end

      node
    end
  end
end
