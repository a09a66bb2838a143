defmodule Stevedore.BalanceTest do
  use Stevedore.PoolCase, async: true

  # Two workers with a thread each: where jobs go, and where they go from there.

  defp busy_pair!(options \\ []) do
    pool = start_fault_pool!([workers: 2, threads: 1] ++ options)
    [one, other] = occupy!(pool, 2)
    assert one.worker != other.worker
    {pool, one, other}
  end

  # The work of the threads: echo would run at once.
  defp work(pool, n, options \\ []),
    do: Stevedore.async(pool, "fault.alloc", %{bytes: n}, options)

  test "no job waits behind a long one while the other worker is idle" do
    {pool, one, other} = busy_pair!()
    forward_events(pool, [[:job, :moved]])
    jobs = for n <- 1..20, do: work(pool, n)
    behind = Enum.count(jobs, &(&1.worker == other.worker))
    assert behind > 0
    cancel_all([one])

    # The other one runs for a minute.
    assert Enum.map(jobs, &Stevedore.await/1) == for(n <- 1..20, do: {:ok, n})
    for _ <- 1..behind, do: assert_received({:event, _, _, %{why: :balance}})
    assert [{:error, %Error{kind: :cancelled}}] = cancel_all([other])
    refute_received {_ref, _message}
  end

  test "long jobs too: one each" do
    {pool, one, other} = busy_pair!()
    [third, fourth] = for _ <- 1..2, do: Stevedore.async(pool, "sleep", %{ms: 60_000})
    # Whichever of the two ends: one of those that wait takes its place.
    cancel_all([one])
    eventually(fn -> length(running(pool)) == 2 end)
    cancel_all([other])
    eventually(fn -> Enum.sort(running(pool)) == Enum.sort([third.id, fourth.id]) end)
    cancel_all([third, fourth])
    refute_received _
  end

  test "a job that has moved can be cancelled by anybody" do
    {pool, one, other} = busy_pair!()
    {job, target} = moved!(pool, one, other)
    fn -> Stevedore.cancel(job) end |> Task.async() |> Task.await()
    assert {:error, %Error{kind: :cancelled}} = Stevedore.await(job)
    assert {:ok, 7} = Stevedore.await(work(pool, 7))
    cancel_all([target])
    refute_received _
  end

  # A long job that was sent to one worker and runs in the other; and the job that it did not wait for.
  defp moved!(pool, one, other) do
    job = Stevedore.async(pool, "sleep", %{ms: 60_000}, idempotent: false)
    {stays, ends} = if job.worker == one.worker, do: {one, other}, else: {other, one}
    cancel_all([ends])
    eventually(fn -> job.id in running(pool) end)
    {job, stays}
  end

  test "and abandoned: a stream that is left leaves nothing behind" do
    {pool, one, other} = busy_pair!()
    test = self()

    {streamer, monitor} =
      spawn_monitor(fn ->
        pool
        |> Stevedore.async_stream([1, 60_000, 60_000], "sleep", &%{ms: &1}, max_concurrency: 3)
        |> Enum.take(1)

        send(test, :taken)
        {:message_queue_len, 0} = Process.info(self(), :message_queue_len)
      end)

    cancel_all([one])
    assert_receive :taken
    assert_receive {:DOWN, ^monitor, :process, ^streamer, :normal}
    eventually(fn -> running(pool) == [other.id] end)
    assert {:ok, 7} = Stevedore.await(work(pool, 7))
    cancel_all([other])
    refute_received _
  end

  test "and its caller's death cancels it" do
    {pool, one, other} = busy_pair!()
    test = self()

    {caller, monitor} =
      spawn_monitor(fn ->
        send(test, {:job, Stevedore.async(pool, "sleep", %{ms: 60_000})})
        Process.sleep(:infinity)
      end)

    assert_receive {:job, job}
    {stays, ends} = if job.worker == one.worker, do: {one, other}, else: {other, one}
    cancel_all([ends])
    eventually(fn -> job.id in running(pool) end)
    Process.exit(caller, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^caller, :killed}
    eventually(fn -> running(pool) == [stays.id] end)
    cancel_all([stays])
    refute_received _
  end

  test "0 goes first, and 9 last" do
    pool = start_fault_pool!(threads: 1)
    forward_events(pool, [[:job, :stop]])
    busy = occupy!(pool, 1)
    jobs = for priority <- [9, 5, 0, 7, 5], do: {priority, tell(pool, priority)}
    eventually(fn -> queued(pool) == 5 end)
    cancel_all(busy)
    order = for _ <- jobs, do: assert_receive({:done, _priority}) |> elem(1)
    assert order == [0, 5, 5, 7, 9]
  end

  defp tell(pool, priority) do
    test = self()

    spawn_link(fn ->
      {:ok, nil} = Stevedore.call(pool, "sleep", %{ms: 20}, priority: priority)
      send(test, {:done, priority})
    end)
  end

  test "the queue of the whole pool is bounded, and says so at once" do
    {pool, one, other} = busy_pair!(max_queue: 3)
    waiting = for n <- 1..3, do: work(pool, n)

    assert {:error, %Error{kind: :overloaded, receipt: nil} = error} =
             Stevedore.call(pool, "fault.alloc", %{bytes: 4})

    assert error.details == %{"what" => "jobs", "limit" => 3}
    cancel_all([one])
    assert Enum.map(waiting, &Stevedore.await/1) == [{:ok, 1}, {:ok, 2}, {:ok, 3}]
    assert {:ok, 4} = Stevedore.call(pool, "fault.alloc", %{bytes: 4})
    cancel_all([other])
    refute_received _
  end

  test "a job that moves is never overloaded" do
    pool = start_fault_pool!(workers: 2, threads: 1, max_queue: 4)
    [one, other] = occupy!(pool, 2)
    waiting = for n <- 1..4, do: work(pool, n)
    {_pid, os_pid} = List.keyfind(workers(pool), one.worker, 0)
    kill!(os_pid)
    assert {:error, %Error{kind: :lost}} = Stevedore.await(one)
    assert Enum.map(waiting, &Stevedore.await/1) == for(n <- 1..4, do: {:ok, n})
    cancel_all([other])
    refute_received _
  end
end
