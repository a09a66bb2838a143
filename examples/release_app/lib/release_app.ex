defmodule ReleaseApp do
  @moduledoc """
  What the application does: count primes, natively.

      {:ok, 25} = ReleaseApp.count_primes(100)
  """

  @doc "How many primes there are below a number."
  @spec count_primes(pos_integer) :: Stevedore.result()
  def count_primes(below), do: Stevedore.call(ReleaseApp.Native, "primes.count", %{below: below})

  @doc """
  The same in the background: the number is written into a file. A stop of the release waits for it.

  A supervisor stops a task by an exit signal, which ends it at once (and so cancels its job) unless it traps exits.
  This one does, and goes on; `:shutdown` says how long its supervisor waits.
  """
  @spec count_into(Path.t(), pos_integer) :: {:ok, pid}
  def count_into(file, below) do
    Task.Supervisor.start_child(
      ReleaseApp.Tasks,
      fn ->
        Process.flag(:trap_exit, true)
        File.write!(file, inspect(count_primes(below)))
      end,
      shutdown: 30_000
    )
  end

  @doc "What a load balancer asks for: whether this node can do its work."
  @spec ready?() :: boolean
  def ready?, do: not match?({:error, _reasons}, Stevedore.health(ReleaseApp.Native, timeout: 500))
end
