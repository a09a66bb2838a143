Stevedore.Fixture.compile_all()
ExUnit.after_suite(fn _results -> Stevedore.Fixture.remove_all() end)
# Long enough for a loaded machine: it is only ever waited for in full by a test that fails.
ExUnit.start(capture_log: true, assert_receive_timeout: 10_000, exclude: [:docs])

# The code of the documentation has a part of its own in ./dev test: mix test --only docs.
