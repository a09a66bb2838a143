Stevedore.Fixture.compile_all()
ExUnit.after_suite(fn _results -> Stevedore.Fixture.remove_all() end)

# Tests of what works with another library are compiled where the library is there.
unless Code.ensure_loaded?(Oban.Worker) do
  IO.puts("skipped: the tests tagged :oban, for Oban is not there (STEVEDORE_DEPS in README.md)")
end

# Long enough for a loaded machine: it is only ever waited for in full by a test that fails.
ExUnit.start(capture_log: true, assert_receive_timeout: 10_000)
