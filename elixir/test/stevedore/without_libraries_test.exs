defmodule Stevedore.WithoutLibrariesTest do
  use ExUnit.Case, async: true

  # What is there only with a library says so where that is not.

  if not Code.ensure_loaded?(Telemetry.Metrics) do
    test "Stevedore.Metrics" do
      assert_raise RuntimeError, ~r/add {:telemetry_metrics, "~> 1.0"}/, fn ->
        Stevedore.Metrics.metrics()
      end
    end
  end

  if not Code.ensure_loaded?(Oban.Worker) do
    test "Stevedore.Oban" do
      assert_raise RuntimeError, ~r/add {:oban, "~> 2.19"}/, fn ->
        Code.eval_string("use Stevedore.Oban, pool: P, op: \"echo\"")
      end
    end
  end
end
