# The least application that has a LiveDashboard with the page.
if Code.ensure_loaded?(Phoenix.LiveDashboard.Router) do
  defmodule Stevedore.DashboardApp.Router do
    @moduledoc false
    use Phoenix.Router
    import Phoenix.LiveDashboard.Router

    pipeline :browser do
      plug(:fetch_session)
      plug(:protect_from_forgery)
    end

    scope "/" do
      pipe_through(:browser)

      live_dashboard("/dashboard",
        allow_destructive_actions: true,
        additional_pages: [stevedore: Stevedore.LiveDashboard]
      )

      live_dashboard("/looking",
        live_session_name: :looking,
        additional_pages: [stevedore: Stevedore.LiveDashboard]
      )
    end
  end

  defmodule Stevedore.DashboardApp.Endpoint do
    @moduledoc false
    use Phoenix.Endpoint, otp_app: :stevedore

    @session [store: :cookie, key: "_dashboard", signing_salt: "for tests"]

    socket("/live", Phoenix.LiveView.Socket, websocket: [connect_info: [session: @session]])
    plug(Plug.Session, @session)
    plug(Stevedore.DashboardApp.Router)
  end

  defmodule Stevedore.DashboardApp do
    @moduledoc false

    alias Stevedore.DashboardApp.Endpoint

    @doc "Starts it for the tests of a module; it listens nowhere."
    def start do
      {:ok, _started} = Application.ensure_all_started(:phoenix_live_dashboard)

      Application.put_env(:stevedore, Endpoint,
        secret_key_base: String.duplicate("s", 64),
        live_view: [signing_salt: "salt for tests"],
        pubsub_server: __MODULE__.PubSub
      )

      ExUnit.Callbacks.start_supervised!({Phoenix.PubSub, name: __MODULE__.PubSub})
      ExUnit.Callbacks.start_supervised!(Endpoint)
    end
  end
end
