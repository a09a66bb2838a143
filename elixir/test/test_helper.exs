Stevedore.Fixture.compile_all()
ExUnit.after_suite(fn _results -> Stevedore.Fixture.remove_all() end)

# Tests that need more than one node.
without_cluster =
  case Stevedore.ClusterCase.start_distribution() do
    :ok ->
      []

    {:error, why} ->
      IO.puts(
        "skipped: the tests of several nodes (:cluster), for this VM cannot be a node: #{why}"
      )

      [:cluster]
  end

# Long enough for a loaded machine: it is only ever waited for in full by a test that fails.
ExUnit.start(capture_log: true, assert_receive_timeout: 10_000, exclude: without_cluster)
