if Code.ensure_loaded?(Phoenix.LiveDashboard.PageBuilder) do
  defmodule Stevedore.LiveDashboard.Sections do
    @moduledoc false
    # The parts of the page, each a table in LiveDashboard's own style. All of them show `Stevedore.stats/1`.

    use Phoenix.Component

    import Phoenix.LiveDashboard.PageBuilder,
      only: [card_title: 1, encode_pid: 1, live_dashboard_path: 3]

    alias Stevedore.Text

    ## Pools

    attr(:pools, :list, required: true)
    attr(:chosen, :map, required: true)
    attr(:page, :map, required: true)
    attr(:socket, :map, required: true)

    def pools(assigns) do
      ~H"""
      <.section id="stevedore-pools" title="Pools" rows={@pools} none={"No pool runs on #{@page.node}."}>
        <:col :let={pool} name="Pool">
          <strong :if={pool == @chosen}>{inspect(pool.name)}</strong>
          <.link :if={pool != @chosen} patch={pool_path(@socket, @page, pool)}>{inspect(pool.name)}</.link>
        </:col>
        <:col :let={pool} name="Workers ready" number>{ready(pool)} of {pool.size}</:col>
        <:col :let={pool} name="Threads busy" number>{busy(pool)} of {threads(pool)}</:col>
        <:col :let={pool} name="Queued" number>{native(pool, "queued")}</:col>
        <:col :let={pool} name="Without a worker" number>{pool.waiting}</:col>
        <:col :let={pool} name="Deaths" number>{Enum.sum(Map.values(pool.deaths))}</:col>
        <:col :let={pool} name="Quarantined" number>{length(pool.quarantined)}</:col>
        <:col :let={pool} name="Circuit"><.state name={pool.circuit} good={:closed} bad={:open} /></:col>
      </.section>
      """
    end

    defp pool_path(socket, page, pool) do
      page = %{page | params: Map.drop(page.params, ["death", "info"])}
      live_dashboard_path(socket, page, pool: inspect(pool.name))
    end

    defp ready(pool), do: Enum.count(pool.workers, &(&1.state == :ready))
    defp busy(pool), do: Enum.sum_by(pool.workers, &length(&1.jobs))
    defp threads(%{workers: workers}), do: Enum.sum_by(workers, &threads/1)
    # Also of a worker that is on its way out, whose facts the roster has no more.
    defp threads(worker), do: worker.threads || count(worker, "threads")
    defp native(pool, counter), do: Enum.sum_by(pool.workers, &count(&1, counter))
    defp count(worker, counter), do: (worker.native || %{})[counter] || 0

    ## What runs

    attr(:pool, :map, required: true)
    attr(:now, :integer, required: true)

    def running(assigns) do
      ~H"""
      <.section id="stevedore-running" title="Running" rows={runs(@pool)} none="No thread is busy.">
        <:col :let={{_worker, job}} name="Op">{job.op}</:col>
        <:col :let={{_worker, job}} name="Job">{job.id}</:col>
        <:col :let={{worker, _job}} name="Worker"><.worker worker={worker} /></:col>
        <:col :let={{_worker, job}} name="Since (UTC)">{time(@now - job.ran_ms, @now)}</:col>
        <:col :let={{_worker, job}} name="For" number>{duration(job.ran_ms)}</:col>
        <:col :let={{_worker, job}} name="Caller"><.process pid={job.caller} /></:col>
        <:col :let={{_worker, job}} name="">
          <span :if={job.stuck} class="badge badge-danger">does not stop</span>
        </:col>
      </.section>
      """
    end

    defp runs(pool) do
      runs = for worker <- pool.workers, job <- worker.jobs, do: {worker, job}
      Enum.sort_by(runs, fn {_worker, job} -> job.ran_ms end, :desc)
    end

    ## Workers

    attr(:pool, :map, required: true)

    def workers(assigns) do
      ~H"""
      <.section id="stevedore-workers" title="Workers" rows={@pool.workers} none="The pool has no worker.">
        <:col :let={worker} name="Worker"><.worker worker={worker} /></:col>
        <:col :let={worker} name="OS process" number>{worker.os_pid}</:col>
        <:col :let={worker} name="State"><.state name={worker.state} good={:ready} bad={:wounded} /></:col>
        <:col :let={worker} name="Age" number>{duration(worker.native["uptime_ms"])}</:col>
        <:col :let={worker} name="Memory" number>{bytes(worker.rss)}</:col>
        <:col :let={worker} name="Threads busy" number>{length(worker.jobs)} of {threads(worker)}</:col>
        <:col :let={worker} name="Queued" number>{worker.native["queued"]}</:col>
        <:col :let={worker} name="Ok" number>{worker.native["ok"]}</:col>
        <:col :let={worker} name="Errors" number>{errors(worker)}</:col>
        <:col :let={worker} name="Version">{worker.version}</:col>
      </.section>
      """
    end

    @kinds Enum.map(Stevedore.Error.kinds(), &Atom.to_string/1)

    defp errors(%{native: nil}), do: nil
    defp errors(worker), do: Enum.sum_by(@kinds, &count(worker, &1))

    ## Deaths

    attr(:pool, :map, required: true)
    attr(:now, :integer, required: true)
    attr(:page, :map, required: true)
    attr(:socket, :map, required: true)

    def deaths(assigns) do
      ~H"""
      <.section id="stevedore-deaths" title="Deaths" rows={@pool.recent_deaths} none="No worker has died.">
        <:above>
          <span :for={{cause, count} <- by_count(@pool.deaths)} class="badge badge-secondary mr-2">
            {cause}: {count}
          </span>
        </:above>
        <:col :let={death} name="At (UTC)">{time(death.at, @now)}</:col>
        <:col :let={death} name="OS process" number>{death.os_pid}</:col>
        <:col :let={death} name="Cause">{death.cause}</:col>
        <:col :let={death} name="What happened">
          {death.text}
          <.link :if={frames(death) != []} patch={death_path(@socket, @page, death)} class="text-nowrap">
            {if shown?(death, @page), do: "hide backtrace", else: "show backtrace"}
          </.link>
          <pre :if={shown?(death, @page)} class="mb-0 mt-2"><code>{Enum.join(frames(death), "\n")}</code></pre>
        </:col>
        <:col :let={death} name="Job">{death.crash && death.crash.id}</:col>
      </.section>
      """
    end

    defp by_count(deaths), do: Enum.sort_by(deaths, fn {cause, count} -> {-count, cause} end)

    defp frames(%{crash: %{backtrace: frames}}), do: frames
    defp frames(_death), do: []

    defp shown?(death, page), do: page.params["death"] == key(death)

    # A second click hides it again.
    defp death_path(socket, page, death) do
      other = if shown?(death, page), do: [], else: [death: key(death)]
      live_dashboard_path(socket, %{page | params: Map.delete(page.params, "death")}, other)
    end

    defp key(death), do: "#{death.at}-#{death.os_pid}"

    ## Quarantine

    attr(:pool, :map, required: true)
    attr(:allowed, :boolean, required: true)

    def quarantine(assigns) do
      ~H"""
      <.section id="stevedore-quarantine" title="Quarantine" rows={@pool.quarantined} none="No job is quarantined.">
        <:col :let={job} name="Op">{job.op}</:col>
        <:col :let={job} name="Fingerprint of op and arguments"><code>{hex(job)}</code></:col>
        <:col :let={job} name="For another" number>{duration(job.for_ms)}</:col>
        <:col :let={job} name="">
          <button
            :if={@allowed}
            class="btn btn-sm btn-danger"
            phx-click="release"
            phx-value-pool={inspect(@pool.name)}
            phx-value-fingerprint={hex(job)}
            data-confirm={"Jobs like this have killed workers. Let #{job.op} run with these arguments again?"}
          >
            Release
          </button>
        </:col>
      </.section>
      """
    end

    defp hex(job), do: Base.encode16(job.fingerprint, case: :lower)

    ## What they are made of

    defp duration(nil), do: nil
    defp duration(ms), do: Text.duration(max(ms, 0) * 1_000)

    defp bytes(nil), do: nil
    defp bytes(bytes), do: Text.bytes(bytes)

    # With the date if it was not today. Both are system times in ms.
    defp time(at, now) do
      [{day, time}, {today, _time}] = Enum.map([at, now], &date_and_time/1)
      if day == today, do: Time.to_string(time), else: "#{day} #{time}"
    end

    defp date_and_time(ms) do
      at = ms |> DateTime.from_unix!(:millisecond) |> DateTime.truncate(:second)
      {DateTime.to_date(at), DateTime.to_time(at)}
    end

    attr(:id, :string, required: true)
    attr(:title, :string, required: true)
    attr(:rows, :list, required: true)
    attr(:none, :string, required: true)
    slot(:above)

    slot :col, required: true do
      attr(:name, :string, required: true)
      attr(:number, :boolean)
    end

    defp section(assigns) do
      ~H"""
      <div id={@id} class="tabular">
        <.card_title title={@title} />
        <div :if={@above != []}>{render_slot(@above)}</div>
        <p :if={@rows == []} class="text-muted mb-4">{@none}</p>
        <div :if={@rows != []} class="card tabular-card mb-4 mt-2">
          <div class="card-body p-0">
            <div class="dash-table-wrapper">
              <table class="table table-hover mt-0 dash-table">
                <thead>
                  <tr>
                    <th :for={col <- @col} class={col[:number] && "text-right"}>{col.name}</th>
                  </tr>
                </thead>
                <tbody>
                  <tr :for={row <- @rows}>
                    <td :for={col <- @col} class={col[:number] && "text-right text-nowrap"}>
                      {render_slot(col, row)}
                    </td>
                  </tr>
                </tbody>
              </table>
            </div>
          </div>
        </div>
      </div>
      """
    end

    attr(:worker, :map, required: true)

    # Two have the same slot while one is replaced.
    defp worker(assigns), do: ~H"{@worker.slot} <.process pid={@worker.pid} />"

    attr(:pid, :any, required: true)

    # A click opens LiveDashboard's own view of the process.
    defp process(%{pid: nil} = assigns), do: ~H"nobody waits"

    defp process(assigns) do
      ~H"""
      <a href="#" phx-click="show_info" phx-value-info={encode_pid(@pid)}>{inspect(@pid)}</a>
      """
    end

    attr(:name, :atom, required: true)
    attr(:good, :atom, required: true)
    attr(:bad, :atom, required: true)

    defp state(assigns) do
      ~H"""
      <span class={["badge", badge(@name, @good, @bad)]}>{@name}</span>
      """
    end

    defp badge(good, good, _bad), do: "badge-success"
    defp badge(bad, _good, bad), do: "badge-danger"
    defp badge(_other, _good, _bad), do: "badge-warning"
  end
end
