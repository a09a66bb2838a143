defmodule Demo.Jobs do
  @moduledoc """
  A job per file, with a progress bar and a clock. These jobs only read, or write files of their own, so
  one whose worker died is simply asked for again.
  """

  alias Demo.Bar
  alias Stevedore.Error

  @attempts 3

  defstruct [:bar, results: [], latencies: [], retried: 0]

  @type file :: %{:path => Path.t(), :size => non_neg_integer, optional(atom) => term}
  @type summary :: %{
          results: [{file, Stevedore.result()}],
          latencies: [us :: non_neg_integer],
          retried: non_neg_integer,
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
        {result, retried} = again(result, pool, op, args.(file), @attempts)
        done.(n)
        collect(run, file, result, now() - begun_at, retried)
      end)

    Bar.finish(run.bar)

    %{
      results: Enum.reverse(run.results),
      latencies: run.latencies,
      retried: run.retried,
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

  # `lost`: was in a worker that died. `unavailable`: never ran.
  defp again({:error, %Error{kind: kind}}, pool, op, args, attempts)
       when kind in [:lost, :unavailable] and attempts > 0 do
    {result, retried} = pool |> Stevedore.call(op, args) |> again(pool, op, args, attempts - 1)
    {result, retried + 1}
  end

  defp again(result, _pool, _op, _args, _attempts), do: {result, 0}

  defp collect(run, file, result, latency, retried) do
    %{
      run
      | bar: Bar.add(run.bar, file.size),
        results: [{file, result} | run.results],
        latencies: [latency | run.latencies],
        retried: run.retried + retried
    }
  end

  @doc "The value that so many percent of the values do not exceed."
  @spec percentile([number, ...], 1..100) :: number
  def percentile(values, percent) do
    values |> Enum.sort() |> Enum.at(ceil(length(values) * percent / 100) - 1)
  end

  defp now, do: System.monotonic_time(:microsecond)
end
