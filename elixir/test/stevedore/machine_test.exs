defmodule Stevedore.MachineTest do
  use Stevedore.PoolCase, async: true

  # The state machines of docs/job_lifecycle.md, held against what really happens: random commands to a pool, and
  # every event of its workers, its jobs and its circuit is a step that the page allows. Whatever was done, the pool
  # has its size afterwards, each slot one worker, and every job exactly one end.
  #
  # `MACHINE_SEED=n mix test …` repeats one history, as far as the machine lets it.

  @worker %{
    none: [:start],
    start: [:ready, :stop],
    ready: [:draining, :wounded, :stop],
    # Draining: the pool stops before its replacement is ready.
    wounded: [:draining, :stop],
    draining: [:stop],
    stop: []
  }

  @circuit %{closed: [:open], open: [:half_open, :closed], half_open: [:open, :closed]}

  @job %{
    none: [:start],
    start: [:moved, :settled, :stop, :exception],
    moved: [:moved, :settled, :stop, :exception],
    settled: [:exception],
    stop: [],
    exception: []
  }

  @events for(name <- ~w(start ready draining wounded stop)a, do: [:worker, name]) ++
            for(name <- ~w(start moved settled stop exception)a, do: [:job, name]) ++
            [[:pool, :circuit]]

  @commands 40

  defp seeds do
    case System.get_env("MACHINE_SEED") do
      nil -> for _ <- 1..3, do: :rand.uniform(1_000_000)
      seed -> [String.to_integer(seed)]
    end
  end

  test "every step of workers, jobs and circuit is one that is documented" do
    for seed <- seeds() do
      :rand.seed(:exsss, {seed, 1, 1})
      pool = unique_name()
      forward_events(pool, @events)
      size = random(3)
      options = [name: pool, workers: size, threads: random(3)] ++ wear()
      start_fault_pool!([kill_after: 100, drain_timeout: 1_000, quarantine: false] ++ options)

      {size, killed, jobs} =
        Enum.reduce(1..@commands, {size, [], []}, fn _n, state ->
          command(random(14), pool, state)
        end)

      for job <- jobs, do: Stevedore.await(job)
      assert_whole(pool, size)
      stop_supervised!(pool)
      check(history(), killed, seed)
    end
  end

  # Those that make workers come and go by themselves.
  defp wear do
    Enum.random([[], [max_jobs: 5 + random(20)], [max_age: 200 + random(500)], [max_idle: 50]])
  end

  ## Commands: `{size, GenServers that were killed, jobs that are not awaited yet}` → the same

  defp command(1, pool, state),
    do: call(pool, "fault.crash", %{signal: Enum.random(~w(SEGV ABRT))}, state)

  defp command(2, pool, state), do: call(pool, "fault.exit", %{code: 3}, state)
  defp command(3, pool, state), do: call(pool, "fault.hang", %{}, state, timeout: 50)
  defp command(4, pool, state), do: call(pool, "no.such", %{}, state)

  defp command(5, pool, state) do
    for {_pid, os_pid} <- Enum.take_random(workers(pool), 1), do: signal(os_pid, "KILL")
    state
  end

  defp command(6, pool, {size, killed, jobs}) do
    pids = for {pid, _os_pid} <- Enum.take_random(workers(pool), 1), do: pid
    Enum.each(pids, &Process.exit(&1, :kill))
    {size, pids ++ killed, jobs}
  end

  defp command(7, pool, {_size, killed, jobs}) do
    size = random(4)
    :ok = Stevedore.resize(pool, size)
    {size, killed, jobs}
  end

  defp command(8, pool, state) do
    # A worker that dies as it boots makes it fail.
    assert Stevedore.restart(pool) == :ok or
             match?({:error, %Error{kind: :unavailable}}, Stevedore.restart(pool))

    state
  end

  defp command(9, pool, {size, killed, jobs}) do
    for job <- Enum.take_random(jobs, 3), do: Stevedore.cancel(job)
    _ = pool
    {size, killed, jobs}
  end

  defp command(10, _pool, {size, killed, jobs}) do
    {now, later} = Enum.split(Enum.shuffle(jobs), 3)
    for job <- now, do: Stevedore.await(job)
    {size, killed, later}
  end

  defp command(_n, pool, {size, killed, jobs}) do
    options =
      Enum.random([[], [queue_timeout: 20], [timeout: 30], [idempotent: true], [priority: 0]])

    new = for _ <- 1..random(6), do: Stevedore.async(pool, "sleep", %{ms: random(60)}, options)
    {size, killed, new ++ jobs}
  end

  defp call(pool, op, args, state, options \\ []) do
    assert {:error, %Error{}} = Stevedore.call(pool, op, args, options)
    state
  end

  # It may be gone already.
  defp signal(os_pid, name),
    do: System.cmd("kill", ["-#{name}", "#{os_pid}"], stderr_to_stdout: true)

  defp random(n), do: :rand.uniform(n)

  ## What has to be so

  defp assert_whole(pool, size) do
    eventually(fn ->
      {:ok, stats} = Stevedore.stats(pool)
      states = Enum.map(stats.workers, & &1.state)
      states == List.duplicate(:ready, size) and stats.circuit == :closed and stats.waiting == 0
    end)
  end

  defp history do
    receive do
      {:event, event, _measurements, metadata} -> [{event, metadata} | history()]
    after
      0 -> []
    end
  end

  defp check(history, killed, seed) do
    workers = steps(history, :worker, & &1.worker)
    jobs = steps(history, :job, & &1.job)
    for {pid, steps} <- workers, do: walk(steps, @worker, {seed, pid})
    for {ref, steps} <- jobs, do: walk(steps, @job, {seed, ref})

    for {pid, steps} <- workers, pid not in killed do
      assert List.last(steps) == :stop, "seed #{seed}: #{inspect(pid)} ended as #{inspect(steps)}"
    end

    for {ref, steps} <- jobs do
      ends = Enum.count(steps, &(&1 in [:stop, :exception]))
      assert ends == 1, "seed #{seed}: #{inspect(ref)} has #{ends} ends: #{inspect(steps)}"
    end

    circuit = for {[:pool, :circuit], %{from: from, to: to}} <- history, do: {from, to}
    for {from, to} <- circuit, do: assert(to in @circuit[from], "seed #{seed}: #{from} → #{to}")
    for [{_, to}, {from, _}] <- Enum.chunk_every(circuit, 2, 1, :discard), do: assert(from == to)
  end

  defp steps(history, kind, key) do
    Enum.group_by(
      for({[^kind, step], metadata} <- history, do: {key.(metadata), step}),
      &elem(&1, 0),
      &elem(&1, 1)
    )
  end

  defp walk(steps, machine, who) do
    Enum.reduce(steps, :none, fn step, state ->
      assert step in machine[state], "#{inspect(who)}: #{state} → #{step} in #{inspect(steps)}"
      step
    end)
  end
end
