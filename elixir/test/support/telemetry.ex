# The part of the telemetry library that the tests need, where it is not installed: without it the library
# compiles its events away, and they could not be tested.
unless Code.ensure_loaded?(:telemetry) do
  defmodule :telemetry do
    @moduledoc false

    def attach_many(id, events, function, config) do
      update(&Map.put(&1, id, {events, function, config}))
    end

    def detach(id), do: update(&Map.delete(&1, id))

    def execute(event, measurements, metadata) do
      for {_id, {events, function, config}} <- handlers(), event in events do
        function.(event, measurements, metadata, config)
      end

      :ok
    end

    defp handlers, do: :persistent_term.get(__MODULE__, %{})

    defp update(change) do
      :global.trans({__MODULE__, self()}, fn ->
        :persistent_term.put(__MODULE__, change.(handlers()))
      end)
    end
  end
end
