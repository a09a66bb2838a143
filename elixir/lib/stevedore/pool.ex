defmodule Stevedore.Pool do
  @moduledoc false
  # The supervision tree of one pool, in start order. `rest_for_one`: the Manager can be restarted
  # alone (it finds the workers that are there), the workers need the Roster, and without the Roster
  # nothing is left to keep. Stopping goes the other way: no new workers, then what waits for one is refused,
  # then all workers drain, then the table goes.

  use Supervisor

  alias Stevedore.{Dispatcher, Error, Manager, Options, Roster, WorkerSupervisor}

  @spec start_link(keyword) :: {:ok, pid} | {:error, term}
  def start_link(options) do
    options = Options.pool!(options)

    case Supervisor.start_link(__MODULE__, options, name: options.name) do
      {:ok, pid} ->
        {:ok, pid}

      {:error, {:shutdown, {:failed_to_start_child, Manager, %Error{} = error}}} ->
        {:error, error}

      {:error, reason} ->
        {:error, reason}
    end
  end

  @impl true
  def init(options) do
    children = [
      {Roster, options},
      {WorkerSupervisor, options},
      {Dispatcher, options},
      {Manager, options}
    ]

    Supervisor.init(children, strategy: :rest_for_one)
  end
end
