defmodule Stevedore.Testing.Stub do
  @moduledoc false
  # A pool whose one worker is a process of the VM (see Stevedore.Testing.stub/2): callers find it in a roster, as they
  # find any other, and notice no difference.

  use Supervisor

  alias Stevedore.{Options, Roster}
  alias Stevedore.Testing.StubWorker

  @spec start_link({atom, map}) :: Supervisor.on_start()
  def start_link({pool, ops}) do
    options = Options.pool!(name: pool, workers: 1)
    Supervisor.start_link(__MODULE__, {options, ops}, name: pool)
  end

  @impl true
  def init({options, ops}) do
    children = [{Roster, options}, {StubWorker, {options.name, ops}}]
    Supervisor.init(children, strategy: :one_for_all)
  end

  @doc "Adds ops to a stubbed pool; `false` if it is not there."
  @spec add(atom, map) :: boolean
  def add(pool, ops) do
    case Process.whereis(StubWorker.name(pool)) do
      nil -> false
      worker -> StubWorker.add(worker, ops) == :ok
    end
  end

  @doc "Reports progress, from a job's own process."
  @spec progress(non_neg_integer, non_neg_integer) :: :ok
  defdelegate progress(done, total), to: StubWorker
end
