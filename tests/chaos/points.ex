defmodule Chaos.Points do
  @moduledoc """
  A worker dies or stops at every point of a job's way (`port/src/worker/inject.h`), early and late. Only
  the first life of the pool's worker is armed. Every call has one outcome, the next life serves.
  """

  alias Chaos.{Book, Host, Judge, Leftovers, Ledger, Recovery, Site}

  @checks [
    point_reached: "the worker did what it was armed for",
    moved: "what no worker had begun runs in the next",
    boots: "a worker that dies while it starts is an error that says so",
    serves: "the pool serves again"
  ]

  # Those that `hello` passes, too: the first time is no job's.
  @passed_by_hello ~w(before_read after_read before_decode after_decode before_run after_run before_encode after_encode half_write)
  @points @passed_by_hello ++ ~w(before_enqueue after_enqueue)
  @before_any_job ~w(before_read after_read before_enqueue)
  @actions ~w(kill abort exit stop)

  @callers 8
  @calls 4
  @patience_ms 30_000

  @spec checks() :: keyword(String.t())
  def checks, do: @checks ++ Judge.checks() ++ Leftovers.checks()

  @doc "All of them, or with `quick?` only those at the first job."
  @spec run(Site.t(), boolean) :: [Judge.violation()]
  def run(site, quick?) do
    times = if quick?, do: [:early], else: [:boot, :early, :late]

    for point <- @points, action <- @actions, time <- times, nth = nth(point, time) do
      where = "#{point}:#{action}:#{nth}"
      violations = one(site, point, action, time, where)
      IO.puts("#{where} #{inspect(Enum.frequencies_by(violations, & &1.check))}")
      for violation <- violations, do: Map.put(violation, :where, where)
    end
    |> Enum.concat()
  end

  defp nth(point, :boot), do: if(point in @passed_by_hello, do: 1)
  defp nth(point, :early), do: if(point in @passed_by_hello, do: 2, else: 1)
  defp nth(point, :late) when point in ~w(before_read after_read half_write), do: 4
  defp nth(_point, :late), do: 7

  defp one(site, point, action, time, where) do
    File.write!(Site.ledger(site), "")
    marker = Path.join(site.directory, "armed")
    File.write!(marker, "")
    before = Leftovers.take(site.executable, site.directory)
    env = [{"STEVEDORE_INJECT", where}, {"STEVEDORE_INJECT_ONCE", marker}]

    started =
      Site.start_pool(
        site,
        [name: Chaos.Points, workers: 1, threads: 4, env: env] ++ limits(action)
      )

    violations = use_pool(started, site, point, action, time)
    violations ++ Leftovers.since(before, site.executable, site.directory)
  end

  # A stopped worker costs as much time as its callers have.
  defp limits("stop"), do: [timeout: 200, queue_timeout: 400, kill_after: 100, boot_timeout: 500]
  defp limits(_action), do: [timeout: 5_000, queue_timeout: 5_000, kill_after: 100]

  ## The start

  # Its supervisor may as well have tried again.
  defp use_pool({:ok, supervisor}, _site, _point, _action, :boot) do
    violations = Recovery.serves(Chaos.Points)
    Site.stop_pool(supervisor)
    violations
  end

  defp use_pool({:ok, supervisor}, site, point, action, time) do
    [%{os_pid: armed}] = Stevedore.info(Chaos.Points).workers
    book = Book.open()
    call_all(book, Map.new(limits(action)))
    evidence = %{Book.evidence(book, Ledger.read(Site.ledger(site))) | blame: false}
    reached = reached(site, armed)

    violations =
      reached ++
        moved(point, action, time, evidence) ++
        Judge.violations(evidence) ++ Recovery.serves(Chaos.Points)

    Book.close(book)
    Site.stop_pool(supervisor)
    violations
  end

  defp use_pool({:error, %Stevedore.Error{kind: :unavailable}}, _site, _point, _action, :boot),
    do: []

  defp use_pool({:error, error}, _site, _point, _action, _time),
    do: [%{check: :boots, key: nil, text: inspect(error)}]

  ## The jobs

  defp call_all(book, limits) do
    1..@callers
    |> Enum.map(&Task.async(fn -> for n <- 1..@calls, do: call(book, limits, &1, n) end))
    |> Task.await_many(@patience_ms)
  end

  defp call(book, limits, caller, n) do
    key = "#{caller}.#{n}"
    plan = %Chaos.Plan{key: key, caller: caller, args: %{key: key, ms: 2}}
    Book.plan(book, plan)
    since = Ledger.now()
    result = Stevedore.call(Chaos.Points, plan.op, plan.args)
    Book.outcome(book, plan, since, Chaos.Plan.limit_ms(plan, limits), result)
  end

  ## What is to be seen

  defp reached(site, armed) do
    case Enum.find(Host.workers(site.executable), &(&1.pid == armed)) do
      nil -> []
      %{state: "T"} -> []
      worker -> [%{check: :point_reached, key: nil, text: "#{inspect(worker)} is alive"}]
    end
  end

  defp moved(point, action, :early, evidence)
       when point in @before_any_job and action != "stop" do
    for {key, [%{result: {:error, error}}]} <- evidence.outcomes do
      %{check: :moved, key: key, text: "#{error.kind}: #{error.message}"}
    end
  end

  defp moved(_point, _action, _time, _evidence), do: []
end
