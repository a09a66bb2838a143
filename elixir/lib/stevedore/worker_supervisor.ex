defmodule Stevedore.WorkerSupervisor do
  @moduledoc false
  # The parent of a pool's workers. It never restarts them itself: when and whether is the Manager's
  # to say, so a crash storm cannot spend a restart intensity and climb up the tree. When the pool
  # stops, all workers drain at the same time.

  use DynamicSupervisor

  alias Stevedore.Worker

  @spec start_link(map) :: Supervisor.on_start()
  def start_link(options) do
    DynamicSupervisor.start_link(__MODULE__, options, name: name(options.name))
  end

  @doc "Starts a worker, which does nothing until it is told to boot."
  @spec start_worker(map, Worker.role()) :: pid
  def start_worker(options, role \\ :pool) do
    {:ok, pid} = DynamicSupervisor.start_child(name(options.name), {Worker, {options, role}})
    pid
  end

  @doc "All workers, ready or not."
  @spec workers(atom) :: [pid]
  def workers(pool) do
    for {_id, pid, _type, _modules} when is_pid(pid) <-
          DynamicSupervisor.which_children(name(pool)),
        do: pid
  end

  @impl true
  def init(_options), do: DynamicSupervisor.init(strategy: :one_for_one)

  defp name(pool), do: Module.concat(pool, WorkerSupervisor)
end
