# The figures in docs/guides/tuning.md, measured on the machine at hand:
#
#     cd elixir && MIX_ENV=prod mix run ../tests/bench/tuning.exs
#
# Ratios mean something on a quiet machine only; what is said about memory holds on any.

defmodule Tuning do
  def pool(options, fun) do
    name = :"tuning_#{System.unique_integer([:positive])}"
    {:ok, pid} = Stevedore.start_link([name: name] ++ options)
    result = fun.(name)
    :ok = Supervisor.stop(pid)
    result
  end

  def say(what, value), do: IO.puts("#{String.pad_trailing(what, 58)} #{value}")

  # Jobs that compute: 256 KiB of SHA-256 each, for a second.
  def jobs_per_second(pool, callers) do
    data = :binary.copy("x", 262_144)
    until = System.monotonic_time(:millisecond) + 1_000

    1..callers//1
    |> Enum.map(fn _ -> Task.async(fn -> loop(pool, data, until, 0) end) end)
    |> Task.await_many(:infinity)
    |> Enum.sum()
  end

  defp loop(pool, data, until, count) do
    if System.monotonic_time(:millisecond) < until do
      {:ok, _} = Stevedore.call(pool, "digest", %{algorithm: "sha256", data: data})
      loop(pool, data, until, count + 1)
    else
      count
    end
  end

  # How late a timer of 5 ms comes, in µs: what the VM's own work feels of busy workers.
  def lateness(pool, callers) do
    load = Task.async(fn -> jobs_per_second(pool, callers) end)
    late = for _ <- 1..180, do: timer()
    _ = Task.await(load, :infinity)
    Enum.at(Enum.sort(late), 170)
  end

  defp timer do
    {us, :ok} =
      :timer.tc(fn ->
        receive do
        after
          5 -> :ok
        end
      end)

    us - 5_000
  end

  def rss(pool),
    do: for(w <- Stevedore.info(pool).workers, do: Stevedore.Worker.Host.rss(w.os_pid)) |> hd()

  def kib(bytes), do: "#{div(bytes, 1024)} KiB"
  def median(list), do: list |> Enum.sort() |> Enum.at(div(length(list), 2))

  def run do
    say("schedulers", System.schedulers_online())
    [load | _] = "/proc/loadavg" |> File.read!() |> String.split()
    say("load average before", load)

    IO.puts("\n# SHA-256 of 256 KiB, jobs a second (median of 3)")

    for {workers, threads} <- [{1, 1}, {1, 2}, {2, 1}, {2, 2}, {2, 4}, {2, 8}] do
      jobs =
        pool([workers: workers, threads: threads], fn pool ->
          median(for _ <- 1..3, do: jobs_per_second(pool, 32))
        end)

      say("#{workers} workers of #{threads} threads", jobs)
    end

    IO.puts("\n# How late a 5 ms timer of the VM comes, 95th percentile in µs (median of 3)")

    for {text, options, callers} <- [
          {"idle workers", [workers: 1, threads: 1], 0},
          {"busy, threads = schedulers", [workers: 1, threads: System.schedulers_online()], 32},
          {"the same with nice: 10",
           [workers: 1, threads: System.schedulers_online(), confine: [nice: 10]], 32},
          {"busy, threads = 4 x schedulers",
           [workers: 1, threads: 4 * System.schedulers_online()], 32}
        ] do
      late =
        pool(options, fn pool ->
          median(for _ <- 1..3, do: lateness(pool, max(1, callers) * min(callers, 1)))
        end)

      say(text, late)
    end

    IO.puts("\n# Resident memory of one worker")

    for threads <- [1, 8, 64],
        do: say("#{threads} threads, idle", kib(pool([workers: 1, threads: threads], &rss/1)))

    pool([workers: 1, threads: 1], fn pool ->
      before = rss(pool)

      jobs =
        for _ <- 1..50_000,
            do:
              Stevedore.async(pool, "sleep", %{ms: 60_000},
                timeout: :infinity,
                queue_timeout: :infinity
              )

      {:ok, _} = Stevedore.call(pool, "ping", nil)
      say("each waiting job of 100 bytes, natively", "#{div(rss(pool) - before, 50_000)} bytes")
      Enum.each(jobs, &Stevedore.cancel/1)
    end)

    pool([workers: 1, threads: 2], fn pool ->
      data = :rand.bytes(16_777_216)
      for _ <- 1..8, do: {:ok, _} = Stevedore.call(pool, "echo", data)
      say("after echoes of 16 MiB, one at a time", kib(rss(pool)))

      1..8
      |> Enum.map(fn _ -> Task.async(fn -> {:ok, _} = Stevedore.call(pool, "echo", data) end) end)
      |> Task.await_many(:infinity)

      say("after eight echoes of 16 MiB at once", kib(rss(pool)))
    end)
  end
end

Tuning.run()
