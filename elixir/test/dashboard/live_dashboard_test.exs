if Code.ensure_loaded?(Phoenix.LiveDashboard.Router) do
  defmodule Stevedore.LiveDashboardTest do
    use Stevedore.PoolCase, async: true

    import Phoenix.ConnTest
    import Phoenix.LiveViewTest

    alias Stevedore.{DashboardApp, LiveDashboard}

    @moduletag :live_dashboard
    @endpoint DashboardApp.Endpoint

    setup_all do
      DashboardApp.start()
      %{conn: build_conn()}
    end

    defp open!(conn, pool, path \\ "/dashboard/stevedore") do
      {:ok, view, _html} = live(conn, "#{path}?#{URI.encode_query(pool: inspect(pool))}")
      view
    end

    # As LiveDashboard does it at each interval.
    defp refresh(view), do: send(view.pid, :refresh) && render(view)

    defp rows(view, section) do
      for row <-
            view |> render() |> LazyHTML.from_document() |> LazyHTML.query("##{section} tbody tr") do
        for cell <- LazyHTML.query(row, "td"),
            do: cell |> LazyHTML.text() |> String.split() |> Enum.join(" ")
      end
    end

    defp row(view, section, name), do: Enum.find(rows(view, section), &(hd(&1) == name))

    test "it is in the menu", %{conn: conn} do
      {:ok, _view, html} = live(conn, "/dashboard/home")
      assert html =~ ~s(href="/dashboard/stevedore")
    end

    test "the pool, its workers and what runs in them", %{conn: conn} do
      pool = start_pool!(workers: 2, threads: 2)
      job = start_running!(pool, "sleep", %{ms: 60_000})
      view = open!(conn, pool)

      assert [_, "2 of 2", "1 of 4", "0", "0", "0", "0", "closed"] =
               row(view, "stevedore-pools", inspect(pool))

      assert [["sleep", id, worker, _since, _for, caller, ""]] = rows(view, "stevedore-running")
      assert id == "#{job.id}"
      assert worker =~ inspect(job.worker)
      assert caller == inspect(self())

      for {pid, os_pid} <- workers(pool) do
        assert row = Enum.find(rows(view, "stevedore-workers"), &(hd(&1) =~ inspect(pid)))
        assert [_, os_process, "ready", _age, memory, threads, "0", _ok, "0", "0.1.0"] = row
        assert os_process == "#{os_pid}"
        assert memory =~ ~r/^[\d.]+ MiB$/
        assert threads == if(pid == job.worker, do: "1 of 2", else: "0 of 2")
      end
    end

    test "a refresh shows what is new", %{conn: conn} do
      pool = start_pool!(threads: 1)
      view = open!(conn, pool)
      assert render(view) =~ "No thread is busy."

      [_runs] = occupy!(pool, 1)
      _waits = Stevedore.async(pool, "sleep", %{ms: 60_000})
      {:ok, _} = Stevedore.stats(pool)
      refresh(view)

      assert [["sleep" | _]] = rows(view, "stevedore-running")
      assert [_, "1 of 1", "1 of 1", "1" | _] = row(view, "stevedore-pools", inspect(pool))
    end

    test "a click on a pool shows that one", %{conn: conn} do
      {first, second} = {start_pool!(), start_pool!()}
      [{_pid, os_pid}] = workers(second)
      view = open!(conn, first)
      refute Enum.any?(rows(view, "stevedore-workers"), &("#{os_pid}" in &1))

      view |> element("#stevedore-pools a", inspect(second)) |> render_click()
      assert [[_, os_process | _]] = rows(view, "stevedore-workers")
      assert os_process == "#{os_pid}"
    end

    test "a pid opens LiveDashboard's view of that process", %{conn: conn} do
      pool = start_pool!()
      view = open!(conn, pool)
      view |> element("#stevedore-workers a") |> render_click()
      assert render(view) =~ "Stevedore.Worker.init/1"
    end

    test "a death: its cause, and its backtrace if asked for", %{conn: conn} do
      pool = start_fault_pool!()
      {:error, error} = Stevedore.call(pool, "fault.crash", %{signal: "SEGV"})
      [frame | _] = error.details["backtrace"]
      view = open!(conn, pool)

      assert [[_at, _os_pid, "crash", text, _job]] = rows(view, "stevedore-deaths")
      assert text =~ "SIGSEGV at 0x0 in crash_by_null_write (fault.so), op fault.crash"
      assert view |> element("#stevedore-deaths .badge") |> render() =~ "crash: 1"

      refute has_element?(view, "#stevedore-deaths pre")
      view |> element("#stevedore-deaths a", "show backtrace") |> render_click()
      assert view |> element("#stevedore-deaths pre") |> render() =~ frame

      # It is in the address, so it stays.
      refresh(view)
      view |> element("#stevedore-deaths a", "hide backtrace") |> render_click()
      refute has_element?(view, "#stevedore-deaths pre")
    end

    test "a death without a backtrace", %{conn: conn} do
      pool = start_pool!()
      [{_pid, os_pid}] = workers(pool)
      kill!(os_pid)
      eventually(fn -> match?({:ok, %{recent_deaths: [_]}}, Stevedore.stats(pool)) end)
      view = open!(conn, pool)

      assert [[_at, os_process, _cause, _text, ""]] = rows(view, "stevedore-deaths")
      assert os_process == "#{os_pid}"
      refute has_element?(view, "#stevedore-deaths a")
    end

    test "a job that does not stop, and its worker", %{conn: conn} do
      pool = start_fault_pool!(threads: 2, kill_after: 50, drain_timeout: 60_000)
      # Its neighbour keeps the worker.
      [neighbour] = occupy!(pool, 1)
      hanging = start_running!(pool, "fault.hang", %{})
      :ok = Stevedore.cancel(hanging)
      {:error, %{kind: :cancelled}} = Stevedore.await(hanging)
      view = open!(conn, pool)

      eventually(fn ->
        refresh(view)

        workers =
          for row <- rows(view, "stevedore-workers"), do: {Enum.at(row, 2), Enum.at(row, 5)}

        Enum.sort(workers) == [{"ready", "0 of 2"}, {"wounded", "2 of 2"}]
      end)

      assert [_, _, "2 of 4" | _] = row(view, "stevedore-pools", inspect(pool))
      runs = rows(view, "stevedore-running")

      assert ["fault.hang", _, _, _, _, "nobody waits", "does not stop"] =
               Enum.find(runs, &(hd(&1) == "fault.hang"))

      cancel_all([neighbour])
    end

    test "quarantine is lifted by a click", %{conn: conn} do
      {pool, fingerprint} = quarantined!()
      view = open!(conn, pool)
      assert [["fault.crash", ^fingerprint, _for, "Release"]] = rows(view, "stevedore-quarantine")

      view |> element("#stevedore-quarantine button") |> render_click()
      assert [] = rows(view, "stevedore-quarantine")
      assert {:ok, %{quarantined: []}} = Stevedore.stats(pool)
    end

    test "quarantine is not lifted where the dashboard only looks", %{conn: conn} do
      {pool, fingerprint} = quarantined!()
      view = open!(conn, pool, "/looking/stevedore")
      assert [["fault.crash", ^fingerprint, _for, ""]] = rows(view, "stevedore-quarantine")

      render_click(view, "release", %{"pool" => inspect(pool), "fingerprint" => fingerprint})
      assert {:ok, %{quarantined: [_]}} = Stevedore.stats(pool)
    end

    test "what is not a pool or a fingerprint is passed over", %{conn: conn} do
      {pool, _fingerprint} = quarantined!()
      view = open!(conn, pool)
      render_click(view, "release", %{"pool" => "Nope", "fingerprint" => "00"})
      render_click(view, "release", %{"pool" => inspect(pool), "fingerprint" => "not hex"})
      assert {:ok, %{quarantined: [_]}} = Stevedore.stats(pool)
    end

    test "a pool that is gone is not there after a refresh", %{conn: conn} do
      pool = start_pool!()
      view = open!(conn, pool)
      :ok = stop_supervised(pool)
      refresh(view)
      assert row(view, "stevedore-pools", inspect(pool)) == nil
    end

    test "a node that cannot be asked is said to be so" do
      assert {[], [text]} = LiveDashboard.Snapshot.take(:"nobody@127.0.0.1")
      assert text =~ "nobody@127.0.0.1 cannot be asked: noconnection"
    end

    defp quarantined! do
      quarantine = [deaths: 1, window: 60_000, for: 3_600_000]
      pool = start_fault_pool!(quarantine: quarantine)
      {:error, %{kind: :crashed}} = Stevedore.call(pool, "fault.crash", %{signal: "SEGV"})
      {:ok, %{quarantined: [job]}} = Stevedore.stats(pool)
      {pool, Base.encode16(job.fingerprint, case: :lower)}
    end
  end
end
