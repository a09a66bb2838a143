defmodule Stevedore.Tally do
  @moduledoc false
  # How the jobs of a pool have ended and how long they took, for those who ask without telemetry. One `:counters`
  # array for each pool, which the Roster makes, so that nothing in it ever goes backwards as long as the pool lives, however
  # many workers come and go. Counted is where the end of a job is emitted: by its caller.
  #
  # Of jobs that came to a value: a histogram of their run, whose count is how many there were, and the sum of what
  # they had waited, both as the worker measured them. Of the others: how many, by kind. Three additions for a job, some 90 ns.
  # Steps of 1-2-5 are fine enough to tell a percentile, and few enough to send anywhere.

  alias Stevedore.Error

  @bounds for power <- 1..7, step <- [1, 2, 5], do: step * Integer.pow(10, power)
  @buckets length(@bounds) + 1

  @queue_sum 1
  @run_sum 2
  @run 2
  @errors @run + @buckets
  @size @errors + length(Error.kinds())

  @type t :: :counters.counters_ref()

  @typedoc "How many took at most so many µs (all of them: `:infinity`), how many there are, and their sum."
  @type histogram :: %{
          buckets: [{pos_integer | :infinity, non_neg_integer}],
          count: non_neg_integer,
          sum_us: non_neg_integer
        }

  @spec new() :: t
  def new, do: :counters.new(@size, [:write_concurrency])

  @doc "The upper bounds of the histogram's buckets in µs, but the last, which has none."
  @spec bounds() :: [pos_integer, ...]
  def bounds, do: @bounds

  @doc "Counts a job that came to a value. Without a pool here there is nothing to count it in."
  @spec count_ok(t | nil, Error.receipt()) :: :ok
  def count_ok(nil, _receipt), do: :ok

  def count_ok(tally, %{queued_us: queued, ran_us: ran}) do
    :ok = :counters.add(tally, @queue_sum, queued)
    :ok = :counters.add(tally, @run_sum, ran)
    :counters.add(tally, @run + bucket(ran), 1)
  end

  @doc "Counts a decoded reply, if it is an end."
  @spec count(t | nil, Stevedore.Protocol.reply()) :: :ok
  def count(tally, {:ok, _value, receipt}), do: count_ok(tally, receipt)
  def count(tally, {:error, kind, _details, _receipt}), do: count_error(tally, kind)
  def count(_tally, _other), do: :ok

  # The first bound that is not less; most jobs are short.
  for {bound, place} <- Enum.with_index(@bounds, 1) do
    defp bucket(us) when us <= unquote(bound), do: unquote(place)
  end

  defp bucket(_us), do: @buckets

  @doc "Counts a job that did not."
  @spec count_error(t | nil, Error.kind()) :: :ok
  def count_error(nil, _kind), do: :ok
  def count_error(tally, kind), do: :counters.add(tally, place(kind), 1)

  for {kind, place} <- Enum.with_index(Error.kinds(), @errors + 1) do
    defp place(unquote(kind)), do: unquote(place)
  end

  @doc "All there is."
  @spec read(t) :: %{
          ended: %{(:ok | Error.kind()) => non_neg_integer},
          queue_time: %{count: non_neg_integer, sum_us: non_neg_integer},
          run_time: histogram
        }
  def read(tally) do
    {buckets, ok} =
      (@bounds ++ [:infinity])
      |> Enum.with_index(@run + 1)
      |> Enum.map_reduce(0, fn {bound, place}, below ->
        count = below + :counters.get(tally, place)
        {{bound, count}, count}
      end)

    errors = Map.new(Error.kinds(), &{&1, :counters.get(tally, place(&1))})

    %{
      ended: Map.put(errors, :ok, ok),
      queue_time: %{count: ok, sum_us: :counters.get(tally, @queue_sum)},
      run_time: %{buckets: buckets, count: ok, sum_us: :counters.get(tally, @run_sum)}
    }
  end
end
