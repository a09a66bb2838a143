defmodule Stevedore.Top.ViewTest do
  use ExUnit.Case, async: true

  alias Stevedore.Tally
  alias Stevedore.Top.{Sample, View}

  defp pick(list), do: Enum.random(list)

  # What a terminal would obey is among it.
  defp text,
    do:
      for(
        _ <- 1..:rand.uniform(60),
        into: "",
        do: pick(["a", "Z", "ä", " ", "\n", "\e[31m", "\r", <<7>>, <<255>>, "漢", "."])
      )

  defp pool(name) do
    tally = Tally.new()

    for _ <- 1..:rand.uniform(30),
        do:
          Tally.count_ok(tally, %{
            queued_us: :rand.uniform(999),
            ran_us: :rand.uniform(99_999_999)
          })

    %{
      name: name,
      size: :rand.uniform(9),
      circuit: pick([:closed, :closed, :open]),
      waiting: :rand.uniform(100_000),
      quarantined: [],
      deaths: %{crash: :rand.uniform(9)},
      recent_deaths: for(_ <- 1..:rand.uniform(6), do: death()),
      jobs: Tally.read(tally),
      workers: for(slot <- 1..:rand.uniform(6), do: worker(slot))
    }
  end

  defp death do
    %{
      at: :rand.uniform(2_000_000),
      worker: self(),
      os_pid: pick([nil, 77]),
      cause: pick([:boot, :crash]),
      text: text(),
      crash: nil
    }
  end

  defp worker(slot) do
    native =
      Map.new(
        ~w(uptime_ms running queued max_rss_kb bytes_in bytes_out),
        &{&1, :rand.uniform(1_000_000_000)}
      )

    %{
      pid: self(),
      os_pid: pick([nil, 4711]),
      slot: slot,
      state: pick([:ready, :booting, :wounded, :draining]),
      threads: pick([nil, 2]),
      in_flight: :rand.uniform(99_999),
      jobs:
        for(
          _ <- 1..:rand.uniform(3),
          do: %{
            id: 1,
            op: text(),
            ran_ms: :rand.uniform(9_999),
            stuck: pick([true, false]),
            caller: pick([nil, self()])
          }
        ),
      native: pick([nil, native, native])
    }
  end

  defp sample(names), do: %{at: 1_000_000, node: :app@host, pools: Enum.map(names, &pool/1)}

  defp view(options \\ []) do
    names =
      Enum.take_random(
        [MyApp.Native, :"a b", :x, A.Very.Long.Name.That.Goes.On.And.On, :"\e[2J"],
        pick(0..5)
      )

    struct!(
      %View{
        now: sample(names),
        before: pick([nil, sample(names), sample([MyApp.Native])]),
        order: pick([:pool, :load, :memory, :age])
      },
      options
    )
  end

  test "any state in any terminal: it fits, and there is nothing in it that a terminal would obey" do
    for _ <- 1..150 do
      view =
        view(
          width: pick(20..200),
          height: pick(5..70),
          paused: pick([true, false]),
          error: pick([nil, "gone"])
        )

      lines = View.screen(view)
      assert length(lines) == view.height

      for {style, text} <- lines do
        assert style in [:title, :head, :plain, :bad, :dim]
        assert String.valid?(text)
        assert String.length(text) <= view.width
        refute text =~ ~r/[[:cntrl:]漢]/u
      end

      assert {:dim, "q quit" <> _} = List.last(lines)
      for line <- View.lines(view), do: refute(line =~ ~r/[[:cntrl:]]/u)
    end
  end

  test "with room for all, all is there" do
    for _ <- 1..40 do
      view = view(width: 500, height: 200)
      text = view |> View.screen() |> Enum.map_join("\n", &elem(&1, 1))
      refute text =~ "more\n"

      for pool <- view.now.pools do
        for %{os_pid: os_pid} when os_pid != nil <- pool.workers, do: assert(text =~ "#{os_pid}")
      end

      rows =
        for pool <- view.now.pools,
            do:
              1 + length(pool.workers) + length(pool.recent_deaths) +
                Enum.sum_by(pool.workers, &length(&1.jobs))

      shown =
        text
        |> String.split("\n")
        |> Enum.reject(&(&1 =~ ~r/^(POOL|WORKER|JOB|DEATH|stevedore|q quit|$)/))
        |> length()

      assert shown == Enum.sum(rows)
    end
  end

  test "before the first sample, and when none comes" do
    assert [{_, "stevedore  "}, {_, "asking …"}] = View.screen(%View{})

    assert [_, {_, "no connection"}] =
             View.screen(View.sampled(%View{}, {:error, "no connection"}))

    view = View.sampled(view(), {:error, "no connection"})
    assert [{:bad, title} | _] = View.screen(%{view | width: 100})
    assert title =~ "no connection: this is old"
  end

  test "keys" do
    view = %View{interval: 1_000}
    for key <- ["q", <<3>>, :eof], do: assert(View.key(view, key) == :quit)
    assert View.key(view, "p").paused
    refute view |> View.key("p") |> View.key(" ") |> Map.fetch!(:paused)
    assert View.key(view, "+").interval == 2_000
    assert View.key(view, "-").interval == 500
    assert Enum.reduce(1..20, view, fn _, view -> View.key(view, "-") end).interval == 250
    assert Enum.reduce(1..20, view, fn _, view -> View.key(view, "+") end).interval == 60_000
    orders = view |> Stream.iterate(&View.key(&1, "s")) |> Enum.take(5) |> Enum.map(& &1.order)
    assert orders == [:pool, :load, :memory, :age, :pool]
    # An arrow is three keys that mean nothing.
    assert Enum.reduce(["\e", "[", "A"], view, &View.key(&2, &1)) == view
  end

  test "paused, nothing changes" do
    paused = %{view() | paused: true}
    assert View.sampled(paused, {:ok, sample([])}) == paused
  end

  test "sorting" do
    worker = fn os_pid, in_flight, rss, up ->
      %{
        worker(1)
        | os_pid: os_pid,
          in_flight: in_flight,
          jobs: [],
          native: %{worker_native() | "max_rss_kb" => rss, "uptime_ms" => up}
      }
    end

    workers = [worker.(1001, 5, 10, 30), worker.(1002, 9, 20, 10), worker.(1003, 1, 30, 20)]
    now = %{sample([:x]) | pools: [%{pool(:x) | workers: workers, recent_deaths: []}]}

    for {order, pids} <- [
          pool: [1001, 1002, 1003],
          load: [1002, 1001, 1003],
          memory: [1003, 1002, 1001],
          age: [1001, 1003, 1002]
        ] do
      text =
        %View{now: now, order: order, width: 120}
        |> View.screen()
        |> Enum.map_join("\n", &elem(&1, 1))

      assert Regex.scan(~r/\b100\d\b/, text) |> List.flatten() |> Enum.map(&String.to_integer/1) ==
               pids
    end
  end

  defp worker_native,
    do: Map.new(~w(uptime_ms running queued max_rss_kb bytes_in bytes_out), &{&1, 1})

  test "lines: only new deaths" do
    old = %{death() | at: 5, text: "old"}
    new = %{death() | at: 15, text: "new"}
    pool = %{pool(:x) | recent_deaths: [new, old]}
    view = %View{before: %{at: 10, node: :n, pools: []}, now: %{at: 20, node: :n, pools: [pool]}}
    assert [line, death] = View.lines(view)
    assert line =~ ~r/^\d\d:\d\d:\d\d x state=/
    assert death =~ ~r/ x death os_pid=.* new$/
  end

  test "rates are those between two samples" do
    for _ <- 1..50 do
      before_tally = Tally.new()

      count = fn tally, times ->
        for us <- times, do: Tally.count_ok(tally, %{queued_us: 10, ran_us: us})
      end

      early = for _ <- 1..pick(1..20), do: :rand.uniform(1_000_000)
      late = for _ <- 1..pick(1..50), do: :rand.uniform(1_000_000)
      count.(before_tally, early)
      before = %{at: 0, node: :n, pools: [%{name: :x, jobs: Tally.read(before_tally)}]}
      count.(before_tally, late)
      Tally.count_error(before_tally, :failed)
      now = %{at: 2_000, node: :n, pools: [%{name: :x, jobs: Tally.read(before_tally)}]}

      assert %{x: rate} = Sample.rates(before, now)
      assert_in_delta rate.jobs, length(late) / 2, 1.0e-9
      assert rate.errors == 0.5
      assert rate.waited == 10.0
      sorted = Enum.sort(late)

      for {part, found} <- [{0.5, rate.p50}, {0.99, rate.p99}] do
        exact = Enum.at(sorted, ceil(part * length(sorted)) - 1)
        assert found == Enum.find(Tally.bounds(), &(&1 >= exact))
      end

      # Started again: what there is since then.
      assert %{x: %{jobs: jobs}} = Sample.rates(now, %{before | at: 4_000})
      assert_in_delta jobs, length(early) / 2, 1.0e-9
    end

    assert Sample.rates(nil, %{at: 0, node: :n, pools: []}) == %{}
  end
end
