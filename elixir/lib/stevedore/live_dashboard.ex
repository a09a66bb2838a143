if Code.ensure_loaded?(Phoenix.LiveDashboard.PageBuilder) do
  defmodule Stevedore.LiveDashboard do
    @moduledoc """
    A page for Phoenix LiveDashboard: pools, their workers, what runs in them since when, and what they died of.

        live_dashboard "/dashboard",
          additional_pages: [stevedore: Stevedore.LiveDashboard]

    It shows the pools of the node that is selected, asks it anew at each refresh (one message to each worker), and
    keeps nothing. The pool is chosen by a click on its name; `?pool=MyApp.Native` in the address is a link to it.
    A node on which Stevedore is not there has no such page.

    Quarantine can be lifted here if the dashboard was mounted with `allow_destructive_actions: true`: the jobs that
    are then let in have killed workers. Everything else only looks.

    Compiled where the `phoenix_live_dashboard` library (0.8) is. See `docs/guides/dashboards.md`.
    """

    use Phoenix.LiveDashboard.PageBuilder

    alias Stevedore.LiveDashboard.{Sections, Snapshot}

    @impl true
    def init(_options), do: {:ok, %{}, module: Stevedore}

    @impl true
    def menu_link(_session, %{modules: modules}) do
      if Stevedore in modules, do: {:ok, "Stevedore"}, else: :skip
    end

    @impl true
    def mount(_params, _session, socket), do: {:ok, take_snapshot(socket)}

    @impl true
    def handle_refresh(socket), do: {:noreply, take_snapshot(socket)}

    @impl true
    def handle_event("release", %{"pool" => name, "fingerprint" => hex}, socket) do
      %{page: page, pools: pools} = socket.assigns

      with true <- page.allow_destructive_actions,
           %{name: pool} <- Enum.find(pools, &(inspect(&1.name) == name)),
           {:ok, fingerprint} <- Base.decode16(hex, case: :lower),
           do: Snapshot.release(page.node, pool, fingerprint)

      {:noreply, take_snapshot(socket)}
    end

    defp take_snapshot(socket) do
      {pools, failures} = Snapshot.take(socket.assigns.page.node)
      assign(socket, pools: pools, failures: failures, now: System.system_time(:millisecond))
    end

    @impl true
    def render(assigns) do
      assigns = assign(assigns, :pool, chosen(assigns.pools, assigns.page.params["pool"]))

      ~H"""
      <div id="stevedore">
        <div :for={failure <- @failures} class="alert alert-danger">{failure}</div>
        <Sections.pools pools={@pools} chosen={@pool} page={@page} socket={@socket} />
        <%= if @pool do %>
          <Sections.running pool={@pool} now={@now} />
          <Sections.workers pool={@pool} />
          <Sections.deaths pool={@pool} now={@now} page={@page} socket={@socket} />
          <Sections.quarantine pool={@pool} allowed={@page.allow_destructive_actions} />
        <% end %>
      </div>
      """
    end

    defp chosen(pools, name), do: Enum.find(pools, List.first(pools), &(inspect(&1.name) == name))
  end
end
