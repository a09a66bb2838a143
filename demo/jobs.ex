defmodule Demo.Jobs do
  @moduledoc """
  A job per file, with a progress bar and a clock. The ops are idempotent, so a job whose worker dies under it
  is run again by the pool, and nothing of that is seen here.
  """

  alias Demo.Bar

  defstruct [:bar, results: [], latencies: []]

  @type file :: %{:path => Path.t(), :size => non_neg_integer, optional(atom) => term}
  @type summary :: %{
          results: [{file, Stevedore.result()}],
          latencies: [us :: non_neg_integer],
          ms: non_neg_integer
        }

  @doc """
  Runs the op once for each file, whose arguments `args` makes. `done` is called with the number of
  files that are done, after each.
  """
  @spec run(Stevedore.pool(), String.t(), [file], (file -> term), (pos_integer -> any)) :: summary
  def run(pool, op, files, args, done \\ &Function.identity/1) do
    started_at = now()
    run = %__MODULE__{bar: Bar.new(op, Enum.sum_by(files, & &1.size))}

    run =
      pool
      |> timed_stream(op, files, args)
      |> Enum.reduce(run, fn {{file, n}, begun_at, result}, run ->
        done.(n)
        collect(run, file, result, now() - begun_at)
      end)

    Bar.finish(run.bar)

    %{
      results: Enum.reverse(run.results),
      latencies: run.latencies,
      ms: div(now() - started_at, 1000)
    }
  end

  # Results come in the order of the files, so the two can be zipped. The clock of a job starts when its
  # arguments are made, which is when it is handed to the pool.
  defp timed_stream(pool, op, files, args) do
    numbered = Enum.with_index(files, 1)
    begun_at = :atomics.new(max(1, length(files)), [])

    start = fn {file, n} ->
      :atomics.put(begun_at, n, now())
      args.(file)
    end

    [numbered, Stevedore.async_stream(pool, numbered, op, start)]
    |> Stream.zip_with(fn [{_file, n} = numbered, result] ->
      {numbered, :atomics.get(begun_at, n), result}
    end)
  end

  defp collect(run, file, result, latency) do
    %{
      run
      | bar: Bar.add(run.bar, file.size),
        results: [{file, result} | run.results],
        latencies: [latency | run.latencies]
    }
  end

  @doc "The value that so many percent of the values do not exceed."
  @spec percentile([number, ...], 1..100) :: number
  def percentile(values, percent) do
    values |> Enum.sort() |> Enum.at(ceil(length(values) * percent / 100) - 1)
  end

  defp now, do: System.monotonic_time(:microsecond)
end
