defmodule Stevedore.PoolCase do
  @moduledoc false
  # Tests that start pools. Each pool has a name of its own, so they run at the same time.

  use ExUnit.CaseTemplate

  alias Stevedore.Fixture

  using do
    quote do
      import Stevedore.PoolCase
      alias Stevedore.{Error, Fixture, Job}
    end
  end

  @doc "The worker program: STEVEDORE_EXECUTABLE, or else the one built with the library."
  def executable, do: System.get_env("STEVEDORE_EXECUTABLE")

  @doc "Its path in either case."
  def program, do: executable() || Application.app_dir(:stevedore, "priv/stevedore")

  @doc "The plugin of that name, beside that program."
  def plugin(name) do
    case executable() do
      nil -> Application.app_dir(:stevedore, "priv/plugins/#{name}.so")
      program -> Path.join(Path.dirname(program), "#{name}.so")
    end
  end

  @doc "Starts a pool of the real program, supervised by the test; returns its name."
  def start_pool!(options \\ []) do
    options = pool_options(options)
    start_supervised!({Stevedore, options}, id: options[:name])
    options[:name]
  end

  @doc "The worker program, but it starts only while there is a file of that second name."
  def gated_program! do
    directory = Path.join(System.tmp_dir!(), "stevedore-#{System.unique_integer([:positive])}")
    File.mkdir_p!(directory)
    ExUnit.Callbacks.on_exit(fn -> File.rm_rf!(directory) end)
    [path, gate] = for name <- ["gated", "open"], do: Path.join(directory, name)

    File.write!(path, """
    #!/bin/sh
    until [ -e #{gate} ]; do sleep 0.01; done
    exec #{program()} "$@"
    """)

    File.chmod!(path, 0o755)
    {path, gate}
  end

  @doc "Starts a pool of a fixture program."
  def start_fixture!(fixture, options \\ []) do
    start_pool!([executable: Fixture.path(fixture), drain_timeout: 0] ++ options)
  end

  def pool_options(options) do
    Keyword.merge(
      [name: unique_name(), workers: 1, executable: executable(), drain_timeout: 2_000],
      options
    )
  end

  def unique_name, do: Module.concat(Stevedore.Test, "Pool#{System.unique_integer([:positive])}")

  @doc "A pool that has the ops of the fault plugin."
  def start_fault_pool!(options \\ []), do: start_pool!([plugins: [plugin("fault")]] ++ options)

  @doc "Starts a job and waits until it runs."
  def start_running!(pool, op, args, options \\ []) do
    job = Stevedore.async(pool, op, args, options)
    eventually(fn -> job.id in running(pool) end)
    job
  end

  @doc "The ids of the jobs that run in ready workers."
  def running(pool) do
    {:ok, %{workers: workers}} = Stevedore.stats(pool)
    for %{native: %{"jobs" => jobs}} <- workers, %{"id" => id} <- jobs, do: id
  end

  @doc "How many jobs wait in the workers' own queues."
  def queued(pool) do
    {:ok, %{workers: workers}} = Stevedore.stats(pool)
    Enum.sum(for %{native: %{"queued" => queued}} <- workers, do: queued)
  end

  @doc "Waits until it is so; for what no message tells."
  def eventually(fun, tries \\ 2_000) do
    cond do
      result = fun.() -> result
      tries == 0 -> ExUnit.Assertions.flunk("it has not come about in all that time")
      true -> Process.sleep(5) && eventually(fun, tries - 1)
    end
  end

  @doc "Starts `count` jobs that run until they are cancelled, and waits until they do."
  def occupy!(pool, count, options \\ []) do
    options = Keyword.merge([idempotent: false], options)
    for _ <- 1..count//1, do: start_running!(pool, "sleep", %{ms: 60_000}, options)
  end

  @doc "Cancels jobs and takes their results."
  def cancel_all(jobs) do
    Enum.each(jobs, &Stevedore.cancel/1)
    Enum.map(jobs, &Stevedore.await/1)
  end

  @doc "Waits until so many workers of the pool are ready."
  def await_ready(pool, count), do: eventually(fn -> length(workers(pool)) == count end)

  @doc "The pids and OS process ids of the ready workers."
  def workers(pool),
    do: for(worker <- Stevedore.info(pool).workers, do: {worker.pid, worker.os_pid})

  @doc "The worker that is there for one job, ready or not."
  def isolated_worker(pool) do
    {_monitor, pid, _ticket} =
      eventually(fn -> :sys.get_state(Module.concat(pool, Dispatcher)).isolation.alone end)

    pid
  end

  @doc "The same when it is ready, and its OS process id."
  def isolated(pool) do
    pid = isolated_worker(pool)

    {pid,
     eventually(fn -> match?(%{phase: :ready}, state = :sys.get_state(pid)) && state.os_pid end)}
  end

  @doc "Kills the pool's Manager, and waits for the next one."
  def kill_manager!(pool) do
    name = Module.concat(pool, Manager)
    manager = Process.whereis(name)
    Process.exit(manager, :kill)
    eventually(fn -> Process.whereis(name) not in [nil, manager] end)
    # When it answers it has found the workers that are there.
    :sys.get_state(name)
  end

  def kill!(os_pid, signal \\ "KILL") do
    {_, 0} = System.cmd("kill", ["-#{signal}", "#{os_pid}"])
  end

  def alive?(os_pid) do
    match?({_, 0}, System.cmd("kill", ["-0", "#{os_pid}"], stderr_to_stdout: true))
  end

  @doc "Sends this process the pool's events as `{:event, name, measurements, metadata}`."
  def forward_events(pool, events) do
    id = make_ref()
    :ok = send_events(pool, events, self(), id)
    ExUnit.Callbacks.on_exit(fn -> :telemetry.detach(id) end)
  end

  @doc "Sends `pid` the pool's events on this node, for good."
  def send_events(pool, events, pid, id \\ make_ref()) do
    events = for event <- events, do: [:stevedore | event]
    :telemetry.attach_many(id, events, &__MODULE__.forward_event/4, {pool, pid})
  end

  def forward_event([:stevedore | event], measurements, %{pool: pool} = metadata, {pool, test}) do
    send(test, {:event, event, measurements, metadata})
  end

  def forward_event(_event, _measurements, _metadata, _config), do: :ok
end
