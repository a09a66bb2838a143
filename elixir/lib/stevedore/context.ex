defmodule Stevedore.Context do
  @moduledoc false
  # What a job's events carry as `context`: the call option of that name, or else, where OpenTelemetry's API was there
  # when this was compiled, its current context, which is in the caller's process dictionary. `nil` if it is empty.

  @doc "From the options of a call."
  @spec of(map) :: term
  def of(%{context: context}), do: context
  def of(_options), do: current()

  if match?({:module, _}, Code.ensure_compiled(:otel_ctx)) do
    defp current do
      context = :otel_ctx.get_current()
      if context != %{}, do: context
    end
  else
    defp current, do: nil
  end
end
