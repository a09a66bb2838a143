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

  @doc "Calls the process of a pool that `name` names, which may take its time; an error if there is no such pool."
  @spec ask(term, (atom -> atom), term) :: term
  def ask(pool, name, request) when is_atom(pool) do
    GenServer.call(name.(pool), request, :infinity)
  catch
    :exit, {:noproc, _call} -> {:error, Error.no_pool(pool)}
  end

  def ask(pool, _name, _request), do: {:error, Error.no_pool(pool)}

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
