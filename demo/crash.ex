defmodule Demo.Crash do
  @moduledoc """
  Kills a worker on purpose, by an op that writes to address 0, and measures what it costs: how long
  until the pool gives a good reply, and how long until it is as large as before.
  """

  alias Stevedore.Error

  @type cost :: %{
          error: Error.t(),
          next_reply_us: non_neg_integer,
          all_ready_us: non_neg_integer
        }

  @doc "A task that waits for `trigger/1`."
  @spec prepare(Stevedore.pool(), pos_integer) :: Task.t()
  def prepare(pool, workers) do
    Task.async(fn ->
      receive do
        :crash -> crash(pool, workers)
      end
    end)
  end

  @spec trigger(Task.t()) :: :ok
  def trigger(task) do
    send(task.pid, :crash)
    :ok
  end

  @spec await(Task.t()) :: cost
  def await(task), do: Task.await(task, :infinity)

  defp crash(pool, workers) do
    {:error, %Error{} = error} = Stevedore.call(pool, "fault.crash", %{signal: "SEGV"})
    noticed_at = now()
    {:ok, "pong"} = Stevedore.call(pool, "ping", nil)
    next_reply_us = now() - noticed_at
    await_workers(pool, workers)
    %{error: error, next_reply_us: next_reply_us, all_ready_us: now() - noticed_at}
  end

  # Nobody announces a worker to strangers: look every millisecond.
  defp await_workers(pool, workers) do
    if length(Stevedore.info(pool).workers) < workers do
      Process.sleep(1)
      await_workers(pool, workers)
    end
  end

  defp now, do: System.monotonic_time(:microsecond)
end
