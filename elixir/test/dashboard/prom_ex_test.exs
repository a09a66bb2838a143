if Code.ensure_loaded?(PromEx) do
  defmodule Stevedore.PromExTest do
    use Stevedore.PoolCase, async: true

    alias PromEx.DashboardRenderer
    alias Stevedore.PromExApp

    @moduletag :prom_ex
    @prefix "my_app_prom_ex_stevedore_"

    setup_all do
      {:ok, _started} = Application.ensure_all_started(:prom_ex)
      start_supervised!(PromExApp)
      :ok
    end

    # {name without prefix, labels, value} of every sample of a pool.
    defp scrape(pool) do
      for line <- String.split(PromEx.get_metrics(PromExApp), "\n"),
          [_, name, labels, value] <- [Regex.run(~r/^#{@prefix}(\w+)\{(.*)\} (\S+)$/, line)],
          labels =
            Map.new(Regex.scan(~r/(\w+)="([^"]*)"/, labels), fn [_, key, value] ->
              {key, value}
            end),
          {name_of_pool, labels} = Map.pop(labels, "pool"),
          name_of_pool == inspect(pool),
          {number, ""} = Float.parse(value),
          do: {name, labels, number}
    end

    defp value(samples, name, labels \\ %{}) do
      with {_, _, value} <- Enum.find(samples, &match?({^name, ^labels, _}, &1)), do: value
    end

    test "jobs that come to a value are counted and timed by op" do
      pool = start_pool!()
      for _ <- 1..3, do: {:ok, _} = Stevedore.call(pool, "sleep", %{ms: 30})
      {:ok, _} = Stevedore.call(pool, "echo", 1)
      samples = scrape(pool)

      for name <- ["duration", "queue_time", "run_time"],
          {op, count} <- [{"sleep", 3}, {"echo", 1}] do
        assert value(samples, "job_stop_#{name}_milliseconds_count", %{"op" => op}) == count
      end

      ran = value(samples, "job_stop_run_time_milliseconds_sum", %{"op" => "sleep"})

      assert ran >= 90 and
               ran <= value(samples, "job_stop_duration_milliseconds_sum", %{"op" => "sleep"})

      assert value(samples, "job_stop_run_time_milliseconds_bucket", %{
               "op" => "sleep",
               "le" => "10"
             }) ==
               0

      assert value(samples, "job_stop_run_time_milliseconds_bucket", %{
               "op" => "sleep",
               "le" => "+Inf"
             }) ==
               3

      used = value(samples, "job_stop_cpu_time_milliseconds_sum", %{"op" => "sleep"})
      assert used > 0 and used < ran / 2
    end

    test "those that come to an error by their kind; what callers make up is no label" do
      pool = start_pool!()
      {:error, %{kind: :bad_args}} = Stevedore.call(pool, "sleep", %{ms: "long"})
      for made_up <- ["a", "b"], do: {:error, _} = Stevedore.call(pool, made_up, 1)
      samples = scrape(pool)

      assert value(samples, "job_exception_total", %{"op" => "sleep", "kind" => "bad_args"}) == 1

      assert value(samples, "job_exception_total", %{"op" => "(unknown)", "kind" => "unknown_op"}) ==
               2

      refute Enum.any?(samples, fn {_name, labels, _value} -> labels["op"] in ["a", "b"] end)
    end

    test "deaths by cause, crashes by op and signal, and what came of them" do
      pool = start_fault_pool!(quarantine: [deaths: 2, window: 60_000, for: 60_000])
      for _ <- 1..2, do: {:error, _} = Stevedore.call(pool, "fault.crash", %{signal: "SEGV"})
      {:error, %{kind: :quarantined}} = Stevedore.call(pool, "fault.crash", %{signal: "SEGV"})
      await_ready(pool, 1)
      samples = scrape(pool)

      assert value(samples, "worker_stop_total", %{"cause" => "crash"}) == 2

      assert value(samples, "worker_crash_total", %{"op" => "fault.crash", "signal" => "SIGSEGV"}) ==
               2

      assert value(samples, "job_settled_total", %{"op" => "fault.crash", "role" => "culprit"}) ==
               2

      assert value(samples, "job_exception_total", %{"op" => "fault.crash", "kind" => "crashed"}) ==
               2

      assert value(samples, "job_exception_total", %{
               "op" => "fault.crash",
               "kind" => "quarantined"
             }) == 1

      assert value(samples, "pool_quarantine_total", %{"op" => "fault.crash"}) == 1
      assert value(samples, "pool_restart_total", %{"cause" => "crash"}) == 2
      assert value(samples, "worker_ready_duration_milliseconds_count") == 3
    end

    test "how full the pools are, looked at again and again" do
      pool = start_pool!(workers: 2, threads: 1)
      running = occupy!(pool, 2)
      waits = Stevedore.async(pool, "sleep", %{ms: 60_000})
      gauge = fn name -> value(scrape(pool), "pool_stats_#{name}") end

      eventually(fn -> gauge.("queued") == 1 end)
      samples = scrape(pool)

      gauges = [
        size: 2,
        workers: 2,
        threads: 2,
        running: 2,
        in_flight: 3,
        waiting: 0,
        quarantined: 0,
        circuit_open: 0
      ]

      for {name, expected} <- gauges,
          do: assert({name, value(samples, "pool_stats_#{name}")} == {name, expected})

      assert value(samples, "pool_stats_max_rss_bytes") > 1_000_000

      cancel_all([waits | running])
      eventually(fn -> gauge.("running") == 0 and gauge.("queued") == 0 end)
    end

    test "replacements" do
      pool = start_pool!()
      :ok = Stevedore.restart(pool)
      {:error, _} = Stevedore.restart(pool, executable: "/nowhere/stevedore", boot_timeout: 500)
      samples = scrape(pool)
      assert value(samples, "pool_replace_total", %{"why" => "restart"}) == 2
      assert value(samples, "pool_replace_failed_total", %{"why" => "restart"}) == 1
      assert value(samples, "worker_stop_total", %{"cause" => "drained"}) == 1
    end

    test "another prefix and buckets" do
      options = [otp_app: :my_app, metric_prefix: [:native], duration_buckets: [1, 60]]
      metrics = Enum.flat_map(Stevedore.PromEx.event_metrics(options), & &1.metrics)
      metric = Enum.find(metrics, &(&1.name == [:native, :job, :stop, :duration, :milliseconds]))
      assert metric.reporter_options == [buckets: [1, 60]]
      assert Enum.all?(metrics, &(hd(&1.name) == :native))
    end

    test "every metric is in one group" do
      polled = Stevedore.PromEx.polling_metrics(otp_app: :my_app)
      groups = [polled | Stevedore.PromEx.event_metrics(otp_app: :my_app)]
      assert length(Enum.flat_map(groups, & &1.metrics)) == length(Stevedore.Metrics.metrics())
    end

    describe "the Grafana dashboard" do
      defp dashboard(assigns \\ []) do
        %{valid_json?: true, decoded_dashboard: dashboard} =
          :stevedore
          |> DashboardRenderer.build("grafana/stevedore.json", :my_app)
          |> DashboardRenderer.merge_assigns(
            [otp_app: :my_app, title: "Stevedore"] ++ PromExApp.dashboard_assigns()
          )
          |> DashboardRenderer.merge_assigns(assigns)
          |> DashboardRenderer.render_dashboard(PromExApp)
          |> DashboardRenderer.decode_dashboard()

        dashboard
      end

      defp queries(dashboard) do
        exprs = for panel <- dashboard["panels"], target <- panel["targets"], do: target["expr"]

        exprs ++
          for(
            %{"type" => "query", "query" => query} <- dashboard["templating"]["list"],
            do: query
          )
      end

      # What an exporter makes of a metric: a histogram is three.
      defp exported do
        options = [otp_app: :my_app]
        polled = Stevedore.PromEx.polling_metrics(options)

        for %{metrics: metrics} <- [polled | Stevedore.PromEx.event_metrics(options)],
            %kind{name: name} = metric <- metrics,
            suffix <-
              if(kind == Telemetry.Metrics.Distribution,
                do: ["_bucket", "_sum", "_count"],
                else: [""]
              ),
            into: %{},
            do: {Enum.join(name, "_") <> suffix, Enum.map(metric.tags, &to_string/1)}
      end

      test "asks only for metrics that there are, by labels that they have" do
        exported = exported()
        queries = queries(dashboard())
        assert length(queries) > 20

        for query <- queries do
          names = List.flatten(Regex.scan(~r/#{@prefix}\w+/, query))
          assert names != []

          for name <- names,
              do: assert(Map.has_key?(exported, name), "there is no #{name}, in: #{query}")

          for [_, labels] <- Regex.scan(~r/by \(([\w, ]+)\)/, query),
              label <- String.split(labels, ", ") -- ["le"],
              name <- names,
              do: assert(label in exported[name], "#{name} has no label #{label}, in: #{query}")
        end
      end

      test "and for all of them" do
        asked = Enum.join(queries(dashboard()), "\n")

        histograms =
          for name <- Map.keys(exported()), do: String.replace(name, ~r/_(bucket|sum|count)$/, "")

        unused =
          for name <- Enum.uniq(histograms),
              not String.contains?(asked, name),
              do: String.replace_prefix(name, @prefix, "")

        assert Enum.sort(unused) == [
                 "job_start_total",
                 "pool_circuit_total",
                 "pool_stats_in_flight"
               ]
      end

      test "names in it are the ones that are scraped" do
        pool = start_pool!()
        {:ok, _} = Stevedore.call(pool, "echo", 1)
        exported = Map.keys(exported())
        for {name, _labels, _value} <- scrape(pool), do: assert((@prefix <> name) in exported)
      end

      test "its legends use labels that the query keeps, its panels do not overlap" do
        for %{"targets" => targets} <- dashboard()["panels"],
            %{"legendFormat" => legend, "expr" => expr} <- targets do
          kept =
            for [_, labels] <- Regex.scan(~r/by \(([\w, ]+)\)/, expr),
                do: String.split(labels, ", ")

          for [_, label] <- Regex.scan(~r/\{\{(\w+)\}\}/, legend),
              do: assert(label in List.flatten(kept))
        end

        cells =
          for %{"gridPos" => %{"x" => x, "y" => y, "w" => w, "h" => h}} <- dashboard()["panels"],
              column <- x..(x + w - 1),
              line <- y..(y + h - 1),
              do: {column, line}

        assert cells == Enum.uniq(cells)
        assert Enum.all?(cells, fn {column, _line} -> column < 24 end)
      end

      test "can be told of another prefix" do
        queries = queries(dashboard(stevedore_metric_prefix: "native"))
        assert Enum.all?(queries, &(&1 =~ "native_" and not (&1 =~ @prefix)))
      end
    end
  end
end
