defmodule Stevedore.PrometheusTest do
  use Stevedore.PoolCase, async: true

  alias Stevedore.{Prometheus, Tally}

  ## The format, with random pools

  defp random_name do
    length = :rand.uniform(12)
    characters = ~c"abcXYZ09_ .\\\"\n{}=,#ä"
    String.to_atom(for _ <- 1..length, into: "", do: <<Enum.random(characters)::utf8>>)
  end

  defp random_pool(name) do
    tally = Tally.new()

    for _ <- 1..:rand.uniform(50) do
      Tally.count_ok(tally, %{queued_us: :rand.uniform(99_999), ran_us: :rand.uniform(99_999_999)})
    end

    Tally.count_error(tally, Enum.random(Stevedore.Error.kinds()))

    %{
      name: name,
      size: 2,
      circuit: Enum.random([:open, :closed]),
      waiting: :rand.uniform(5),
      quarantined: [],
      deaths: Enum.random([%{}, %{crash: 3, kill: 1}]),
      jobs: Tally.read(tally),
      workers: for(slot <- 1..:rand.uniform(3), do: random_worker(slot))
    }
  end

  defp random_worker(slot) do
    native =
      Map.new(
        ~w(uptime_ms running queued max_rss_kb bytes_in bytes_out),
        &{&1, :rand.uniform(9_999)}
      )

    %{
      pid: self(),
      os_pid: 1000 + slot,
      slot: slot,
      state: Enum.random([:ready, :booting]),
      threads: 2,
      in_flight: :rand.uniform(4),
      jobs: [%{stuck: Enum.random([true, false])}],
      native: Enum.random([native, nil])
    }
  end

  # A reader of the format, written from its description.
  defp parse(text) do
    assert String.ends_with?(text, "\n")

    {families, samples} =
      text |> String.split("\n", trim: true) |> Enum.reduce({%{}, []}, &line/2)

    {families, Enum.reverse(samples)}
  end

  defp line("# HELP " <> rest, {families, samples}) do
    [name, help] = String.split(rest, " ", parts: 2)
    refute is_map_key(families, name), "#{name} has two HELP lines"
    {Map.put(families, name, %{help: help}), samples}
  end

  defp line("# TYPE " <> rest, {families, samples}) do
    [name, type] = String.split(rest, " ")
    {Map.update!(families, name, &Map.put(&1, :type, type)), samples}
  end

  defp line(sample, {families, samples}) do
    assert [_, name, labels, value] = Regex.run(~r/^([a-z_]+)\{(.*)\} (\S+)$/s, sample)
    {value, ""} = Float.parse(value)
    base = String.replace(name, ~r/_(bucket|sum|count)$/, "")
    assert families[name] || families[base], "#{name} comes before its TYPE"
    {families, [{name, labels(labels, %{}), value} | samples]}
  end

  defp labels("", labels), do: labels

  defp labels(text, labels) do
    [_, name, rest] = Regex.run(~r/^,?([a-z_]+)="(.*)$/s, text)
    {value, rest} = unescape(rest, "")
    labels(rest, Map.put(labels, name, value))
  end

  defp unescape("\\n" <> rest, value), do: unescape(rest, value <> "\n")
  defp unescape("\\" <> <<char, rest::binary>>, value), do: unescape(rest, value <> <<char>>)
  defp unescape("\"" <> rest, value), do: {value, rest}
  defp unescape(<<char, rest::binary>>, value), do: unescape(rest, value <> <<char>>)

  test "any pools: it can be read back, no sample is there twice, and the numbers are theirs" do
    for _ <- 1..100 do
      pools =
        1..:rand.uniform(4)
        |> Enum.map(fn _ -> random_name() end)
        |> Enum.uniq()
        |> Enum.map(&random_pool/1)

      {families, samples} = pools |> Prometheus.render() |> parse()

      assert Enum.all?(families, fn {_name, family} ->
               family[:type] in ["counter", "gauge", "histogram"]
             end)

      keys = for {name, labels, _value} <- samples, do: {name, labels}
      assert keys == Enum.uniq(keys)
      values = Map.new(samples, fn {name, labels, value} -> {{name, labels}, value} end)
      for pool <- pools, do: assert_pool(pool, values)
    end
  end

  defp assert_pool(pool, values) do
    name = label(pool.name)

    for {outcome, count} <- pool.jobs.ended do
      assert values[{"stevedore_jobs_total", %{"pool" => name, "outcome" => "#{outcome}"}}] ==
               count
    end

    run = pool.jobs.run_time
    seconds = "stevedore_job_run_seconds"
    assert values[{seconds <> "_count", %{"pool" => name}}] == run.count
    assert_in_delta values[{seconds <> "_sum", %{"pool" => name}}], run.sum_us / 1.0e6, 1.0e-6
    assert values[{seconds <> "_bucket", %{"pool" => name, "le" => "+Inf"}}] == run.count

    assert values[{seconds <> "_bucket", %{"pool" => name, "le" => "0.00005"}}] ==
             run.buckets |> Map.new() |> Map.fetch!(50)

    for {cause, count} <- pool.deaths,
        do:
          assert(
            values[{"stevedore_worker_deaths_total", %{"pool" => name, "cause" => "#{cause}"}}] ==
              count
          )

    open = if pool.circuit == :open, do: 1, else: 0
    assert values[{"stevedore_pool_circuit_open", %{"pool" => name}}] == open
  end

  defp label(name), do: name |> inspect() |> String.trim_leading(":")

  test "no pools, no text" do
    assert Prometheus.text([]) |> parse() |> elem(1) == []
    assert Prometheus.text(No.Such.Pool) |> parse() |> elem(1) == []
  end

  ## With a real pool

  defp value(text, name, labels) do
    {_families, samples} = parse(text)

    Enum.find_value(samples, fn {n, l, value} ->
      if n == name and Map.take(l, Map.keys(labels)) == labels, do: value
    end)
  end

  test "counters do not go backwards when workers are replaced" do
    pool = start_fault_pool!(threads: 1)
    for _ <- 1..5, do: {:ok, 1} = Stevedore.call(pool, "echo", 1)
    before = Prometheus.text(pool)
    assert value(before, "stevedore_jobs_total", %{"outcome" => "ok"}) == 5
    {:error, %Error{kind: :crashed}} = Stevedore.call(pool, "fault.crash", %{})
    :ok = Stevedore.restart(pool)
    {:ok, 1} = Stevedore.call(pool, "echo", 1)
    later = Prometheus.text(pool)
    assert value(later, "stevedore_jobs_total", %{"outcome" => "ok"}) == 6
    assert value(later, "stevedore_jobs_total", %{"outcome" => "crashed"}) == 1
    assert value(later, "stevedore_worker_deaths_total", %{"cause" => "crash"}) == 1

    {families, samples} = parse(before)
    {_families, later} = parse(later)
    later = Map.new(later, fn {name, labels, value} -> {{name, labels}, value} end)

    for {name, labels, value} <- samples,
        families[name][:type] == "counter" or String.contains?(name, "run_seconds"),
        now = later[{name, labels}],
        do: assert(now >= value, "#{name} #{inspect(labels)}")
  end

  if System.find_executable("promtool") do
    test "promtool has nothing to say against it" do
      pool = start_fault_pool!(threads: 1)
      {:ok, 1} = Stevedore.call(pool, "echo", 1)
      {:error, _} = Stevedore.call(pool, "fault.crash", %{})
      await_ready(pool, 1)
      pools = for _ <- 1..5, do: random_pool(random_name())
      {:ok, stats} = Stevedore.stats(pool)

      for text <- [
            Prometheus.text(pool),
            Prometheus.render([stats | Enum.uniq_by(pools, & &1.name)])
          ] do
        file =
          Path.join(System.tmp_dir!(), "stevedore-#{System.unique_integer([:positive])}.prom")

        File.write!(file, text)
        on_exit(fn -> File.rm(file) end)
        command = "promtool check metrics < #{file}"
        assert {"", 0} = System.cmd("sh", ["-c", command], stderr_to_stdout: true)
      end
    end
  end
end
