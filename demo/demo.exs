# Digest, compress and crash on real files, then check every result: `./dev demo [DIR]`.
#
# It walks a directory, digests each file through a pool of two workers, lets one of them crash in the
# middle, compresses the largest files, and compares everything with what `sha256sum` and `zstd` say.
# The exit code is 1 if one byte differs.

for file <- ~w(table bar walk scratch jobs crash check) do
  Code.require_file("#{file}.ex", __DIR__)
end

defmodule Demo do
  alias Demo.{Check, Crash, Jobs, Scratch, Table, Walk}

  @pool Demo.Pool
  @workers 2
  @threads 2
  @largest 20

  def main([]), do: main(["/usr/share"])

  def main([directory]) do
    System.find_executable("sha256sum") || give_up("the demo checks with sha256sum: install it")
    # The worker's death would be logged as it should; here that would only tear the progress bar.
    Logger.configure(level: :critical)
    walk = walk(directory)
    {:ok, pool} = start_pool()
    scratch = Scratch.create()

    try do
      run(walk, scratch)
    after
      Supervisor.stop(pool)
      Scratch.remove(scratch)
    end
    |> verdict()
  end

  def main(_arguments), do: give_up("usage: ./dev demo [DIR]")

  defp walk(directory) do
    File.dir?(directory) || give_up("#{directory} is not a directory")
    walk = Walk.files(directory)
    walk.files != [] || give_up("#{directory} has no files that can be read")
    IO.puts(Walk.describe(walk, directory))
    walk
  end

  defp start_pool do
    fault = Application.app_dir(:stevedore, "priv/plugins/fault.so")
    Stevedore.start_link(name: @pool, workers: @workers, threads: @threads, plugins: [fault])
  end

  defp run(walk, scratch) do
    beam = System.pid()
    {digests, cost} = digest_and_crash(walk.files)
    compressed = compress(walk.files, scratch)

    Table.print("Digests (sha256)", digest_rows(walk, digests))
    Table.print("The largest files, compressed (zstd)", compress_rows(compressed))
    Table.print("A worker crashed at half way (SIGSEGV)", crash_rows(cost, beam))

    IO.puts("\nChecking every result with other programs …")

    differences =
      Check.digests(@pool, digests.results, scratch) ++
        Check.compressed(@pool, Enum.map(compressed.results, &elem(&1, 0)), scratch)

    {length(digests.results), length(compressed.results), differences}
  end

  defp digest_and_crash(files) do
    crash = Crash.prepare(@pool, @workers)
    half = ceil(length(files) / 2)
    at_half_way = fn done -> if done == half, do: Crash.trigger(crash) end
    digests = Jobs.run(@pool, "digest", files, &Check.digest_args/1, at_half_way)
    {digests, Crash.await(crash)}
  end

  defp compress(files, scratch) do
    largest = files |> Enum.sort_by(& &1.size, :desc) |> Enum.take(@largest)

    files =
      for {file, n} <- Enum.with_index(largest) do
        Map.put(file, :to, Scratch.path(scratch, "#{n}.zst"))
      end

    Jobs.run(@pool, "zstd.compress", files, &Check.compress_args/1)
  end

  defp digest_rows(walk, digests) do
    [
      {"files", Table.count(walk.count)},
      {"bytes", Table.bytes(walk.bytes)},
      {"time", Table.us(digests.ms * 1000)},
      {"throughput", Table.rate(walk.bytes, digests.ms)},
      {"jobs", "#{Table.count(div(walk.count * 1000, max(1, digests.ms)))} a second"},
      {"latency p50", Table.us(Jobs.percentile(digests.latencies, 50))},
      {"latency p99", Table.us(Jobs.percentile(digests.latencies, 99))}
    ]
  end

  defp compress_rows(%{results: results, ms: ms}) do
    sizes = for {_file, {:ok, sizes}} <- results, do: sizes
    before = Enum.sum_by(sizes, & &1["bytes_in"])

    [
      {"files", Table.count(length(sizes))},
      {"bytes",
       "#{Table.bytes(before)} to #{Table.bytes(Enum.sum_by(sizes, & &1["bytes_out"]))}"},
      {"throughput", Table.rate(before, ms)}
    ]
  end

  defp crash_rows(cost, beam) do
    noticed = if System.pid() == beam, do: "noticed nothing", else: "is another one"

    [
      {"its caller got", "#{cost.error.kind}: #{cost.error.message}"},
      {"its native stack", cost.error.details["backtrace"] |> Enum.take(2) |> Enum.join(" < ")},
      {"next good reply", "#{Table.us(cost.next_reply_us)} later"},
      {"all #{@workers} workers ready", "#{Table.us(cost.all_ready_us)} later"},
      {"the BEAM", "#{noticed}: process #{beam} before, #{System.pid()} after"}
    ]
  end

  defp verdict({digests, compressed, []}) do
    IO.puts("\nOK: #{digests} digests and #{compressed} compressed files, no difference.")
  end

  defp verdict({_digests, _compressed, differences}) do
    Enum.each(differences, &IO.puts("DIFFERENT: #{&1}"))
    give_up("\nFAILED: #{length(differences)} results are not what they should be.")
  end

  defp give_up(message) do
    IO.puts(:stderr, message)
    exit({:shutdown, 1})
  end
end

Demo.main(System.argv())
