if Code.ensure_loaded?(PromEx.Plugin) do
  defmodule Stevedore.PromEx.Names do
    @moduledoc false
    # The metrics of `Stevedore.Metrics` under names as Prometheus wants them: a total says so, a unit is at the
    # end. Pure.

    alias Stevedore.Metrics
    alias Telemetry.Metrics.{Counter, Distribution, LastValue}

    @doc "All metrics, their names behind this prefix."
    @spec metrics([atom]) :: [Telemetry.Metrics.t()]
    def metrics(prefix) do
      for metric <- Metrics.metrics(), do: %{metric | name: prefix ++ name(metric)}
    end

    @doc "Whether it is for `Stevedore.Telemetry.measure/0` to give it a value."
    @spec polled?(Telemetry.Metrics.t()) :: boolean
    def polled?(metric), do: is_struct(metric, LastValue)

    defp name(%Counter{name: [:stevedore | name]}), do: List.replace_at(name, -1, :total)
    defp name(%Distribution{name: [:stevedore | name]}), do: name ++ [:milliseconds]
    defp name(%{name: [:stevedore | name], unit: :byte}), do: name ++ [:bytes]
    defp name(%{name: [:stevedore | name]}), do: name

    @doc "A table of them in Markdown."
    @spec docs() :: String.t()
    def docs do
      rows =
        for metric <- metrics([]) do
          tags = Enum.map_join(metric.tags, ", ", &"`#{&1}`")

          "| `#{Enum.join(metric.name, "_")}` | #{type(metric)} | #{tags} | #{metric.description} |"
        end

      "| metric | type | labels | what |\n|---|---|---|---|\n" <> Enum.join(rows, "\n")
    end

    defp type(%Counter{}), do: "counter"
    defp type(%Distribution{}), do: "histogram"
    defp type(%LastValue{}), do: "gauge"
  end
end
