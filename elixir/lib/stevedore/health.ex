defmodule Stevedore.Health do
  @moduledoc """
  Whether a pool can do its work, for load balancers and people.

      :ok = Stevedore.health(MyApp.Native)

  | answer | meaning | readiness | liveness |
  |---|---|---|---|
  | `:ok` | as many workers as there should be are ready, and all have answered | yes | yes |
  | `{:degraded, reasons}` | jobs are done, but something is not as it should be | yes | yes |
  | `{:error, reasons}` | calls would fail or wait | no | **yes** |

  *Readiness* is whether this node should be sent work: a node whose pool is in `:error` should not. *Liveness* is whether
  the node has to be restarted to become well. No state of a pool says that: a pool starts its workers again by itself,
  at a pace that suits the cause, and a node that is restarted for it takes everything else that it does down. So let
  liveness be that the VM answers at all.

  ## Reasons

  A list of `{kind, text}`; the text is for people and says how many, or which.

  | kind | where | meaning |
  |---|---|---|
  | `:no_pool` | error | it is not started, or has stopped |
  | `:draining` | error | `Stevedore.drain/2` was called, and no `restart/2` since |
  | `:circuit_open` | error | no worker can be kept running; one at a time is tried |
  | `:no_worker` | error | none is ready (yet); calls wait for one |
  | `:no_answer` | error, if no worker has answered, else degraded | a worker is stopped, or the machine has no time for it |
  | `:workers_missing` | degraded | some have died or are booting |
  | `:wounded` | degraded | a job will not stop; its worker is being replaced |
  | `:overloaded` | degraded | the queue is full: calls are refused until it is not |
  | `:manager` | degraded | the process that keeps the workers did not answer |

  ## Cost

  One `ping` to each worker, which answers it beside its jobs, however busy its threads are: a fraction of a
  millisecond. It takes at most `:timeout` ms whatever hangs, for it is done by a process of its own, which is then
  killed. The pings show in telemetry as jobs, with the op `ping`.

  ## In an endpoint

  Nothing of this needs Plug; where there is one:

      defmodule MyApp.HealthPlug do
        @behaviour Plug
        import Plug.Conn

        def init(options), do: options

        def call(%{request_path: "/live"} = conn, _options), do: conn |> send_resp(200, "ok") |> halt()

        def call(%{request_path: "/ready"} = conn, _options) do
          {status, body} = answer(Stevedore.health(MyApp.Native, timeout: 500))
          conn |> send_resp(status, body) |> halt()
        end

        def call(conn, _options), do: conn

        def answer(:ok), do: {200, "ok"}
        def answer({:degraded, reasons}), do: {200, "degraded: " <> Stevedore.Health.text(reasons)}
        def answer({:error, reasons}), do: {503, Stevedore.Health.text(reasons)}
      end

  In a Phoenix endpoint put `plug MyApp.HealthPlug` before `Plug.Telemetry`, so that it is not logged.
  """

  alias Stevedore.{Manager, Roster, Stats}

  @type kind ::
          :no_pool
          | :draining
          | :circuit_open
          | :no_worker
          | :no_answer
          | :workers_missing
          | :wounded
          | :overloaded
          | :manager
  @type reason :: {kind, String.t()}
  @type t :: :ok | {:degraded, [reason, ...]} | {:error, [reason, ...]}

  @default_timeout 1_000

  @doc "See `Stevedore.health/2`."
  @spec check(atom, timeout: pos_integer) :: t
  def check(pool, options \\ []) do
    timeout = timeout!(options)
    {pid, monitor} = spawn_monitor(fn -> exit({:health, look(pool, timeout)}) end)

    receive do
      {:DOWN, ^monitor, :process, ^pid, {:health, health}} -> health
      # The pool went while it was looked at.
      {:DOWN, ^monitor, :process, ^pid, _reason} -> {:error, [no_pool(pool)]}
    after
      timeout ->
        true = Process.exit(pid, :kill)
        true = Process.demonitor(monitor, [:flush])
        {:error, [no_answer("nothing of #{inspect(pool)} answered within #{timeout} ms")]}
    end
  end

  @doc """
  Reasons as one line.

      iex> Stevedore.Health.text(no_worker: "none of 2 workers is ready", circuit_open: "no worker can be kept running")
      "none of 2 workers is ready; no worker can be kept running"
  """
  @spec text([reason]) :: String.t()
  def text(reasons), do: Enum.map_join(reasons, "; ", fn {_kind, text} -> text end)

  defp timeout!(options) do
    case Keyword.validate!(options, timeout: @default_timeout) do
      [timeout: timeout] when is_integer(timeout) and timeout in 1..60_000 ->
        timeout

      [timeout: timeout] ->
        raise ArgumentError,
              "health option :timeout must be an integer from 1 to 60000 (ms), got: #{inspect(timeout)}"
    end
  end

  ## In a process of its own

  # A tenth of the time is kept back, to say who did not answer.
  defp look(pool, timeout) do
    until = now() + max(1, div(timeout * 9, 10))

    case Roster.lookup(pool) do
      {:ok, {ready, _quarantined}, settings} ->
        asked = for {pid, _place, _threads} <- ready, do: {pid, Stats.ask(pid)}
        manager = Manager.stats(pool, max(0, until - now()))
        silent = for {pid, ref} <- asked, Stats.answer(ref, until) == nil, do: pid

        judge(%{
          manager: manager,
          ready: length(ready),
          silent: Enum.map(silent, &os_pid(pool, &1)),
          full: Roster.pick(ready, settings) == :overloaded,
          timeout: timeout
        })

      :error ->
        {:error, [no_pool(pool)]}
    end
  end

  defp os_pid(pool, pid) do
    facts = Roster.facts(pool, pid)
    facts && facts.os_pid
  end

  defp now, do: System.monotonic_time(:millisecond)

  @doc false
  # What has been seen → what it means. `manager` is `nil` if it did not answer.
  @spec judge(map) :: t
  def judge(seen) do
    case {Enum.flat_map([&closed/1, &workers/1], & &1.(seen)),
          Enum.flat_map(flaws(), & &1.(seen))} do
      {[], []} -> :ok
      {[], flaws} -> {:degraded, flaws}
      {errors, _flaws} -> {:error, errors}
    end
  end

  defp closed(%{manager: %{draining: true}}),
    do: [draining: "it drains or has drained: Stevedore.restart/2 makes it serve again"]

  defp closed(%{manager: %{circuit: circuit}}) when circuit != :closed,
    do: [circuit_open: "no worker can be kept running: see the log for what they die of"]

  defp closed(_seen), do: []

  defp workers(%{ready: 0, manager: nil}), do: [no_worker: "no worker is ready"]

  defp workers(%{ready: 0, manager: manager}),
    do: [no_worker: "none of #{manager.size} workers is ready"]

  defp workers(%{ready: ready, silent: silent} = seen) when length(silent) == ready,
    do: [no_answer("no worker answered within #{seen.timeout} ms")]

  defp workers(_seen), do: []

  defp flaws, do: [&missing/1, &silent/1, &wounded/1, &full/1, &manager/1]

  defp missing(%{ready: ready, manager: %{size: size}}) when ready < size,
    do: [workers_missing: "#{ready} of #{size} workers ready"]

  defp missing(_seen), do: []

  defp silent(%{silent: []}), do: []

  defp silent(%{silent: os_pids, timeout: timeout}) do
    for os_pid <- os_pids,
        do: no_answer("the worker with OS pid #{os_pid} did not answer within #{timeout} ms")
  end

  defp wounded(%{manager: %{workers: workers}}) do
    case Enum.count(workers, &(&1.state == :wounded)) do
      0 -> []
      count -> [wounded: "workers that are being replaced for a job that will not stop: #{count}"]
    end
  end

  defp wounded(_seen), do: []

  defp full(%{full: true}), do: [overloaded: "its queue is full"]
  defp full(_seen), do: []

  defp manager(%{manager: nil, timeout: timeout}),
    do: [manager: "its Manager did not answer within #{timeout} ms"]

  defp manager(_seen), do: []

  defp no_pool(pool), do: {:no_pool, "there is no pool #{inspect(pool)}: is it started?"}
  defp no_answer(text), do: {:no_answer, text}
end
