defmodule Stevedore.Top.View do
  @moduledoc false
  # What `mix stevedore.top` shows: a state in, lines out. Pure. A line is `{style, text}` and never wider than the
  # terminal; what comes from elsewhere (names of ops and pools, texts of deaths) has nothing in it that a terminal would obey.

  import Stevedore.Top.Row

  alias Stevedore.{Stats, Text}
  alias Stevedore.Top.Sample

  @orders [:pool, :load, :memory, :age]

  defstruct [
    :now,
    :before,
    :error,
    order: :pool,
    paused: false,
    interval: 1_000,
    width: 80,
    height: 24
  ]

  @type t :: %__MODULE__{
          now: Sample.t() | nil,
          before: Sample.t() | nil,
          error: String.t() | nil,
          order: :pool | :load | :memory | :age,
          paused: boolean,
          interval: pos_integer,
          width: pos_integer,
          height: pos_integer
        }
  @type style :: :title | :head | :plain | :bad | :dim
  @type line :: {style, String.t()}

  ## What changes

  @doc "A new sample, or why there is none. While it is paused nothing changes."
  @spec sampled(t, {:ok, Sample.t()} | {:error, String.t()}) :: t
  def sampled(%{paused: true} = view, _result), do: view
  def sampled(view, {:ok, sample}), do: %{view | before: view.now, now: sample, error: nil}
  def sampled(view, {:error, text}), do: %{view | error: text}

  @doc "A key. `:quit` if it is the last one."
  @spec key(t, String.t() | :eof) :: t | :quit
  def key(_view, key) when key in ["q", "Q", <<3>>, <<4>>, :eof], do: :quit
  def key(view, key) when key in ["p", " "], do: %{view | paused: not view.paused}
  def key(view, "s"), do: %{view | order: next(@orders, view.order)}
  def key(view, "+"), do: %{view | interval: min(60_000, view.interval * 2)}
  def key(view, "-"), do: %{view | interval: max(250, div(view.interval, 2))}
  def key(view, _other), do: view

  defp next(orders, order) do
    Enum.at(orders, rem(Enum.find_index(orders, &(&1 == order)) + 1, length(orders)))
  end

  ## A whole screen

  @doc "As many lines as fit."
  @spec screen(t) :: [line]
  def screen(%{now: nil} = view), do: fit([title(view), {:plain, view.error || "asking …"}], view)

  def screen(view) do
    body = [pools(view), workers(view), jobs(view), deaths(view)]
    room = view.height - 2
    lines = body |> share(room) |> Enum.concat()
    empty = List.duplicate({:plain, ""}, max(0, room - length(lines)))
    fit([title(view)] ++ lines ++ empty ++ [keys(view)], view)
  end

  defp fit(lines, view) do
    for {style, text} <- Enum.take(lines, view.height), do: {style, clip(text, view.width)}
  end

  defp title(%{now: now} = view) do
    node = if now, do: "#{now.node}  #{clock(now.at)}", else: ""
    paused = if view.paused, do: "  PAUSED", else: ""
    error = if view.error && now, do: "  (#{view.error}: this is old)", else: ""
    {if(view.error, do: :bad, else: :title), "stevedore  #{node}#{paused}#{error}"}
  end

  defp keys(view) do
    {:dim,
     "q quit   p pause   s sort: #{view.order}   + - every #{Text.duration(view.interval * 1000)}"}
  end

  # The pools come first, with up to half of the room; the other parts share the rest, and those that are too long are cut.
  defp share([pools | parts], room) do
    parts = Enum.reject(parts, fn [_heading | rows] -> rows == [] end)
    pools = cut(pools, max(2, div(room, 2)))
    rooms = divide(Enum.map(parts, &length/1), room - length(pools) - length(parts))
    parts = parts |> Enum.zip_with(rooms, &cut/2) |> Enum.reject(&(&1 == []))
    Enum.intersperse([pools | parts], [{:plain, ""}])
  end

  defp divide(sizes, room) do
    if Enum.sum(sizes) <= room do
      sizes
    else
      fair = max(0, div(room, max(1, length(sizes))))
      spare = max(0, room - Enum.sum_by(sizes, &min(&1, fair)))

      {rooms, _spare} =
        Enum.map_reduce(sizes, spare, fn size, spare ->
          more = min(max(0, size - fair), spare)
          {min(size, fair) + more, spare - more}
        end)

      rooms
    end
  end

  defp cut(_part, room) when room < 2, do: []
  defp cut(part, room) when length(part) <= room, do: part

  defp cut(part, room) do
    Enum.take(part, room - 1) ++ [{:dim, "  … and #{length(part) - room + 1} more"}]
  end

  ## Parts

  # Heading, width (negative: to the left), and whether it is there in a terminal that is not wide. The first is the pool.

  @pool_columns [
    {"POOL", :name, :always},
    {"STATE", -8, :always},
    {"WORKERS", 7, :always},
    {"THREADS", 7, :wide},
    {"RUN", 4, :always},
    {"QUEUE", 5, :always},
    {"WAIT", 4, :always},
    {"JOBS/S", 6, :always},
    {"ERR/S", 5, :always},
    {"P50", 7, :wide},
    {"P99", 7, :always},
    {"WAITED", 7, :wide},
    {"DEATHS", 6, :always},
    {"QUAR", 4, :wide}
  ]

  defp pools(view) do
    rates = Sample.rates(view.before, view.now)

    [
      row(:head, headings(@pool_columns), @pool_columns, view)
      | for(pool <- view.now.pools, do: pool(pool, rates[pool.name], view))
    ]
  end

  defp pool(pool, rate, view) do
    row(
      if(state(pool) == "ok", do: :plain, else: :bad),
      pool_cells(pool, rate),
      @pool_columns,
      view
    )
  end

  defp pool_cells(pool, rate) do
    sum = Stats.sum_up(pool)

    [name(pool.name), state(pool), "#{sum.workers}/#{sum.size}"] ++
      Enum.map([sum.threads, sum.running, sum.queued, sum.waiting], &Text.number/1) ++
      rate_cells(rate) ++
      Enum.map([pool.deaths |> Map.values() |> Enum.sum(), sum.quarantined], &Text.number/1)
  end

  defp rate_cells(nil), do: List.duplicate("-", 5)

  defp rate_cells(rate) do
    [Text.number(rate.jobs), Text.number(rate.errors)] ++
      Enum.map([rate.p50, rate.p99, rate.waited], &time/1)
  end

  defp time(nil), do: "-"
  defp time(:infinity), do: "> 50 s"
  defp time(us), do: Text.duration(us)

  @doc false
  @spec state(map) :: String.t()
  def state(%{circuit: :open}), do: "circuit"
  def state(%{workers: []}), do: "drained"

  def state(pool) do
    if Enum.any?(pool.workers, &(&1.state == :ready)), do: "ok", else: "starting"
  end

  @worker_columns [
    {"WORKER", :name, :always},
    {"SLOT", 4, :always},
    {"OS PID", 7, :always},
    {"STATE", -8, :always},
    {"JOBS", 5, :always},
    {"RUN", 4, :always},
    {"QUEUE", 5, :always},
    {"UP", 7, :always},
    {"MAX RSS", 9, :always},
    {"IN", 9, :wide},
    {"OUT", 9, :wide}
  ]

  defp workers(view) do
    workers = for pool <- view.now.pools, worker <- pool.workers, do: {pool.name, worker}

    [
      row(:head, headings(@worker_columns), @worker_columns, view)
      | workers |> Enum.sort_by(&worker_order(view.order, &1)) |> Enum.map(&worker(&1, view))
    ]
  end

  defp worker_order(:pool, {pool, worker}), do: {pool, worker.slot, worker.os_pid}
  defp worker_order(:load, {_pool, worker}), do: -worker.in_flight
  defp worker_order(:memory, {_pool, worker}), do: -native(worker, "max_rss_kb")
  defp worker_order(:age, {_pool, worker}), do: -native(worker, "uptime_ms")

  defp native(%{native: nil}, _key), do: 0
  defp native(%{native: native}, key), do: native[key]

  defp worker({pool, worker}, view) do
    cells = [
      name(pool),
      worker.slot,
      worker.os_pid || "-",
      worker.state,
      Text.number(worker.in_flight)
    ]

    style = if worker.state == :wounded, do: :bad, else: :plain
    row(style, cells ++ native_cells(worker.native), @worker_columns, view)
  end

  defp native_cells(nil), do: List.duplicate("-", 6)

  defp native_cells(native) do
    [
      Text.number(native["running"]),
      Text.number(native["queued"]),
      Text.duration(native["uptime_ms"] * 1000),
      Text.bytes(native["max_rss_kb"] * 1024),
      Text.bytes(native["bytes_in"]),
      Text.bytes(native["bytes_out"])
    ]
  end

  @job_columns [
    {"JOB", :name, :always},
    {"OS PID", 7, :always},
    {"ID", 10, :wide},
    {"RUNS FOR", 8, :always},
    {"OP", -36, :always},
    {"CALLER", -18, :wide}
  ]

  defp jobs(view) do
    jobs =
      for pool <- view.now.pools,
          worker <- pool.workers,
          job <- worker.jobs,
          do: {pool.name, worker, job}

    [
      row(:head, headings(@job_columns), @job_columns, view)
      | jobs |> Enum.sort_by(&job_order(view.order, &1)) |> Enum.map(&job(&1, view))
    ]
  end

  defp job_order(:pool, {pool, _worker, job}), do: {pool, job.op, -job.ran_ms}
  defp job_order(_other, {_pool, _worker, job}), do: -job.ran_ms

  defp job({pool, worker, job}, view) do
    caller = if job.caller, do: inspect(job.caller), else: "-"
    op = if job.stuck, do: "#{job.op} (STUCK)", else: job.op
    style = if job.stuck, do: :bad, else: :plain
    cells = [name(pool), worker.os_pid, job.id, Text.duration(job.ran_ms * 1000), op, caller]
    row(style, cells, @job_columns, view)
  end

  @death_columns [
    {"DEATH", :name, :always},
    {"OS PID", 7, :wide},
    {"AGO", 7, :always},
    {"CAUSE", -14, :always},
    {"WHAT", -400, :always}
  ]

  defp deaths(view) do
    deaths = for pool <- view.now.pools, death <- pool.recent_deaths, do: {pool.name, death}

    [
      row(:head, headings(@death_columns), @death_columns, view)
      | deaths
        |> Enum.sort_by(fn {_pool, death} -> -death.at end)
        |> Enum.map(&death(&1, view))
    ]
  end

  defp death({pool, death}, view) do
    ago = Text.duration(max(0, view.now.at - death.at) * 1000)

    row(
      :plain,
      [name(pool), death.os_pid || "-", ago, death.cause, death.text],
      @death_columns,
      view
    )
  end

  ## Without a terminal

  @doc "A pool in one line, for each pool; and a line for each death since the sample before."
  @spec lines(t) :: [String.t()]
  def lines(%{now: nil} = view), do: [view.error || ""]

  def lines(%{error: error} = view) when error != nil, do: ["#{clock(view.now.at)} #{error}"]

  def lines(view) do
    rates = Sample.rates(view.before, view.now)
    at = clock(view.now.at)

    for(pool <- view.now.pools, do: "#{at} #{line(pool, rates[pool.name])}") ++
      new_deaths(view, at)
  end

  defp line(pool, rate) do
    @pool_columns
    |> Enum.zip(pool_cells(pool, rate))
    |> tl()
    |> Enum.map_join(" ", fn {{heading, _width, _there}, cell} ->
      "#{String.downcase(heading)}=#{String.replace(cell, " ", "")}"
    end)
    |> then(&"#{name(pool.name)} #{&1}")
  end

  defp new_deaths(%{before: nil}, _at), do: []

  defp new_deaths(view, at) do
    for pool <- view.now.pools,
        death <- Enum.reverse(pool.recent_deaths),
        death.at > view.before.at do
      clean(
        "#{at} #{name(pool.name)} death os_pid=#{death.os_pid || "-"} cause=#{death.cause} #{death.text}"
      )
    end
  end
end
