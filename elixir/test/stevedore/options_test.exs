defmodule Stevedore.OptionsTest do
  use ExUnit.Case, async: true

  alias Stevedore.Options

  test "fills in defaults" do
    options = Options.pool!(name: Pool)

    assert %{name: Pool, workers: 2, plugins: [], timeout: 60_000, queue_timeout: 30_000} =
             options

    assert options.threads == nil
  end

  test "a wrong option is an ArgumentError that names key and value" do
    wrong = [
      name: "pool",
      name: nil,
      workers: 0,
      workers: 1.5,
      threads: -1,
      plugins: "one.so",
      plugins: [""],
      executable: ~c"charlist",
      args: [:atom],
      args: ["a\0b"],
      env: %{"A" => nil},
      env: [{"", "1"}],
      timeout: 0,
      queue_timeout: nil,
      max_frame: 1,
      boot_timeout: :infinity,
      drain_timeout: -1,
      kill_after: :infinity,
      kill_after: 0,
      circuit: 0,
      quarantine: nil,
      quarantine: true,
      quarantine: [deaths: 3],
      quarantine: [deaths: 0, window: 1, for: 1],
      max_jobs: 0,
      max_age: :infinity,
      max_idle: 1.5,
      max_rss: 1,
      kill_rss: -1
    ]

    for {key, value} <- wrong do
      error = assert_raise ArgumentError, fn -> Options.pool!([{:name, Pool}, {key, value}]) end
      assert error.message =~ inspect(key)
      assert error.message =~ inspect(value)
    end
  end

  test "accepts what the docs say" do
    for {key, value} <- [
          threads: nil,
          threads: 4,
          timeout: :infinity,
          env: %{"A" => "1", "B" => false},
          env: [{"A", ""}],
          plugins: ["a.so", "b.so"],
          quarantine: false,
          quarantine: [for: 1, deaths: 2, window: 3],
          max_jobs: nil,
          max_jobs: 1,
          kill_rss: 1_048_576,
          drain_timeout: 0
        ] do
      assert %{^key => ^value} = Options.pool!([{:name, Pool}, {key, value}])
    end
  end

  test "an unknown option is named, and the name is required" do
    for {key, guess} <- [
          wrkers: "did you mean :workers?",
          worker: "did you mean :workers?",
          thread: "did you mean :threads?",
          colour: "there are :name, :workers, "
        ] do
      error = assert_raise ArgumentError, fn -> Options.pool!([{:name, Pool}, {key, 2}]) end
      assert error.message =~ "unknown pool option #{inspect(key)} (value: 2): #{guess}"
    end

    assert_raise ArgumentError, ~r/:seccom .*did you mean :seccomp\?/, fn ->
      Options.pool!(name: Pool, confine: [seccom: :basic])
    end

    for wrong <- [%{name: Pool}, Pool, "pool"], fun <- [:start_link, :child_spec] do
      assert_raise ArgumentError, ~r/pool options must be a keyword list/, fn ->
        apply(Stevedore, fun, [wrong])
      end
    end

    assert_raise ArgumentError, ~r/:name is required/, fn -> Options.pool!([]) end
    assert_raise ArgumentError, ~r/got: :workers/, fn -> Options.pool!([:workers]) end
  end

  test "the options of a call go over the pool's" do
    defaults = Options.call_defaults(Options.pool!(name: Pool, timeout: 7))
    assert Options.call!([], defaults) == defaults

    assert %{timeout: 7, queue_timeout: :infinity, priority: 0} =
             Options.call!([queue_timeout: :infinity, priority: 0], defaults)

    assert_raise ArgumentError, ~r/call option :priority must be .* got: 10/, fn ->
      Options.call!([priority: 10], defaults)
    end

    assert_raise ArgumentError, ~r/:on_progress/, fn ->
      Options.call!([on_progress: fn -> :ok end], defaults)
    end
  end

  test "what a worker is sent, and when its caller gives up" do
    pool = Options.pool!(name: Pool, timeout: 7, queue_timeout: 20, kill_after: 300)
    defaults = Options.call_defaults(pool)
    # And a second.
    assert defaults.limit == 1_327
    assert sent(defaults) == %{timeout: 7, queue_timeout: 20}

    call = Options.call!([kill_after: 4_000, priority: 9], defaults)
    assert call.limit == 5_027
    assert sent(call) == %{timeout: 7, queue_timeout: 20, kill_after: 4_000, priority: 9}

    for endless <- [:timeout, :queue_timeout] do
      call = Options.call!([{endless, :infinity}], defaults)
      assert call.limit == :infinity
      refute is_map_key(sent(call), endless)
    end
  end

  defp sent(%{wire: wire}), do: :erlang.binary_to_term(<<131, wire::binary>>)

  test "the options of a restart go over the pool's, if they may change" do
    pool = Options.pool!(name: Pool, plugins: ["a.so"])
    assert Options.restart!([], pool) == %{pool | generation: 1}
    assert %{plugins: ["b.so"], workers: 2} = Options.restart!([plugins: ["b.so"]], pool)

    for {key, value} <- [workers: 3, name: Other, max_queue: 5, quarantine: false] do
      assert_raise ArgumentError, ~r/cannot change #{inspect(key)}/, fn ->
        Options.restart!([{key, value}], pool)
      end
    end

    assert_raise ArgumentError, ~r/:threads must be .* got: 0/, fn ->
      Options.restart!([threads: 0], pool)
    end
  end

  test "the options of a stream are its own and those of its calls" do
    assert {%{ordered: false, max_concurrency: nil}, [timeout: 5]} =
             Options.stream!(ordered: false, timeout: 5)

    assert_raise ArgumentError, ~r/:max_concurrency .* got: 0/, fn ->
      Options.stream!(max_concurrency: 0)
    end
  end

  test "the docs mention every option with its default" do
    docs = Options.docs(:pool)
    keys = Map.keys(Options.pool!(name: Pool)) -- [:directory, :generation]
    for key <- keys, do: assert(docs =~ "`:#{key}`")
    assert docs =~ "default: `30000`"
    assert Options.docs(:call) =~ "default: the pool's `:timeout`"
  end
end
