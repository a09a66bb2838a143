defmodule Stevedore.Telemetry.Log do
  @moduledoc """
  What `Stevedore.Telemetry.attach_default_logger/1` logs.

  Good news is logged at the level of choice. Bad news is at least a warning (a worker that died or is wounded, a job that
  failed) or an error (a job that crashed, an open circuit), except jobs that were cancelled. What the library logs by itself
  is not logged twice: that a dead worker is replaced, that a replacement failed, and quarantine.

      MyApp.Native: worker 4711 is ready after 12.1 ms, 4 threads
      MyApp.Native: thumbnail failed after 3.2 ms: crashed: SIGSEGV at 0x0 in decode (thumbnail.so), op thumbnail, after 132 µs
      MyApp.Native: worker 4711 died after 2 h with 1 job: crash

  The metadata of a log: `domain` is `[:elixir, :stevedore]`, `stevedore_event` such as `"job.exception"`, and as far as the event has
  it `stevedore_pool`, `stevedore_op`, `stevedore_job`, `stevedore_worker`, `stevedore_os_pid`, `stevedore_duration_us`,
  `stevedore_queue_us`, `stevedore_run_us`, `stevedore_error` (the kind), `stevedore_cause` and `stevedore_why`.
  """

  require Logger

  alias Stevedore.Text

  @levels Logger.levels()

  @schema [
    {:level, {:one_of, @levels}, :info, "for good news."},
    {:jobs, {:one_of, [:failures, :all, :none]}, :failures,
     "whose ends are logged. `:all`: also their starts, and what happens in between, which is much."},
    {:pools, :pools, :all, "a list of the pools it is about."}
  ]

  @doc false
  @spec docs() :: String.t()
  def docs do
    Enum.map_join(@schema, "\n", fn {key, type, default, doc} ->
      "  * `:#{key}` (#{describe(type)}, default: `#{inspect(default)}`): #{doc}"
    end)
  end

  @doc false
  @spec options!(Logger.level() | keyword) :: map
  def options!(level) when is_atom(level) and level not in [nil, true, false],
    do: options!(level: level)

  def options!(options) do
    defaults = Map.new(@schema, fn {key, _type, default, _doc} -> {key, default} end)

    unless Keyword.keyword?(options) do
      raise ArgumentError,
            "logger options must be a level or a keyword list, got: #{inspect(options)}"
    end

    Enum.reduce(options, defaults, fn {key, value}, all ->
      :ok = check!(List.keyfind(@schema, key, 0), key, value)
      %{all | key => value}
    end)
  end

  defp check!(nil, key, value) do
    raise ArgumentError, "unknown logger option #{inspect(key)} (value: #{inspect(value)})"
  end

  defp check!({key, type, _default, _doc}, key, value) do
    unless valid?(type, value) do
      raise ArgumentError,
            "logger option #{inspect(key)} must be #{describe(type)}, got: #{inspect(value)}"
    end

    :ok
  end

  defp valid?({:one_of, values}, value), do: value in values
  defp valid?(:pools, :all), do: true
  defp valid?(:pools, pools), do: is_list(pools) and Enum.all?(pools, &is_atom/1)

  defp describe({:one_of, values}),
    do: "one of " <> Enum.map_join(values, ", ", &"`#{inspect(&1)}`")

  defp describe(:pools), do: "`:all`, or a list of names of pools"

  if match?({:module, _}, Code.ensure_compiled(:telemetry)) do
    @id "stevedore-default-logger"

    @doc false
    @spec attach(Logger.level() | keyword) :: :ok
    def attach(options) do
      options = options!(options)
      _ = detach()
      :telemetry.attach_many(@id, Stevedore.Telemetry.events(), &__MODULE__.handle/4, options)
    end

    @doc false
    @spec detach() :: :ok | {:error, :not_found}
    def detach, do: :telemetry.detach(@id)
  else
    @doc false
    @spec attach(Logger.level() | keyword) :: no_return
    def attach(options) do
      _ = options!(options)

      raise "Stevedore was compiled without :telemetry and emits no events: add {:telemetry, \"~> 1.0\"} to your " <>
              "dependencies, then `mix deps.compile stevedore --force`"
    end

    @doc false
    @spec detach() :: {:error, :not_found}
    def detach, do: {:error, :not_found}
  end

  @doc false
  @spec handle([atom], map, map, map) :: :ok
  def handle([:stevedore | event], measurements, metadata, options) do
    with true <- options.pools == :all or metadata.pool in options.pools,
         true <- event?(event, options.jobs),
         {severity, text} <- line(event, measurements, metadata) do
      level = louder(severity, options.level)

      Logger.log(
        level,
        [inspect(metadata.pool), ": ", text],
        facts(event, measurements, metadata)
      )
    else
      _not_logged -> :ok
    end
  end

  defp event?([:job, _what], jobs) when jobs == :all, do: true
  defp event?([:job, :exception], jobs), do: jobs == :failures
  defp event?([:job, _what], _jobs), do: false
  defp event?(_other, _jobs), do: true

  defp louder(:good, level), do: level

  defp louder(severity, level) do
    if Logger.compare_levels(severity, level) == :lt, do: level, else: severity
  end

  @doc false
  # The line of an event, or nothing.
  @spec line([atom], map, map) :: {:good | :warning | :error, iodata} | :silent
  def line([:job, :start], _, m), do: {:good, [m.op, " starts"]}

  def line([:job, :stop], t, m) do
    {:good,
     [
       m.op,
       " took ",
       time(t.duration),
       " (waited ",
       time(t.queue_time),
       ", ran ",
       time(t.run_time),
       ?)
     ]}
  end

  def line([:job, :exception], t, m) do
    %{kind: kind, message: message} = m.reason

    {severity(kind),
     [m.op, " failed after ", time(t.duration), ": ", to_string(kind), ": ", message]}
  end

  def line([:job, :cancel], _, m), do: {:good, [m.op, " is asked to stop (#{m.why})"]}
  def line([:job, :moved], _, m), do: {:good, [m.op, " goes to another worker (#{m.why})"]}

  def line([:job, :settled], _, m),
    do: {:warning, [m.op, " was the #{m.role} of a worker's end"]}

  def line([:worker, :ready], t, m) do
    {:good,
     [worker(m), " is ready after ", time(t.duration), ", ", count(m.hello["threads"], "thread")]}
  end

  def line([:worker, :draining], t, m),
    do: {:good, [worker(m), " drains, with ", count(t.in_flight, "job")]}

  def line([:worker, :wounded], t, m) do
    {:warning,
     [worker(m), " has a job that will not stop, and ", count(t.in_flight, "job"), " in all"]}
  end

  def line([:worker, :stop], t, %{cause: :drained} = m),
    do: {:good, [worker(m), " has ended after ", time(t.duration)]}

  def line([:worker, :stop], t, m) do
    jobs = if t[:in_flight], do: [" with ", count(t.in_flight, "job")], else: []
    {:warning, [worker(m), " died after ", time(t.duration), jobs, ": ", cause(m.cause)]}
  end

  def line([:pool, :start], t, _), do: {:good, ["started, ", count(t.workers, "worker")]}
  def line([:pool, :stop], _, m), do: {:good, ["stopped: ", inspect(m.reason)]}

  def line([:pool, :replace], _, m),
    do: {:good, ["a worker is to be replaced (#{m.why})"]}

  def line([:pool, :resize], t, _), do: {:good, ["is to have ", count(t.workers, "worker")]}
  def line([:pool, :drain], t, _), do: {:good, ["drains, within #{t.timeout_ms} ms"]}
  def line([:pool, :drained], _, _), do: {:good, "has drained"}

  def line([:pool, :circuit], _, %{to: :open}),
    do: {:error, "circuit open: calls are refused, for no worker can be kept running"}

  def line([:pool, :circuit], _, _), do: {:good, "circuit closed: it serves again"}

  def line([:pool, :release], _, m),
    do: {:good, ["an op (", m.op, ") is not quarantined any more (#{m.why})"]}

  def line(_said_elsewhere, _, _), do: :silent

  defp severity(:cancelled), do: :good
  defp severity(:crashed), do: :error
  defp severity(_kind), do: :warning

  defp cause(cause) when is_atom(cause), do: Atom.to_string(cause)
  defp cause(cause), do: inspect(cause)

  defp worker(%{os_pid: nil}), do: "a worker"
  defp worker(%{os_pid: os_pid}), do: "worker #{os_pid}"

  defp count(1, what), do: "1 #{what}"
  defp count(number, what), do: "#{number} #{what}s"

  defp time(native), do: native |> us() |> Text.duration()

  defp us(native), do: System.convert_time_unit(native, :native, :microsecond)

  defp facts(event, measurements, metadata) do
    times =
      for {key, name} <- [
            duration: :stevedore_duration_us,
            queue_time: :stevedore_queue_us,
            run_time: :stevedore_run_us
          ],
          %{^key => native} <- [measurements],
          do: {name, us(native)}

    known =
      for {key, name} <- [
            pool: :stevedore_pool,
            op: :stevedore_op,
            job: :stevedore_job,
            worker: :stevedore_worker,
            os_pid: :stevedore_os_pid,
            cause: :stevedore_cause,
            why: :stevedore_why
          ],
          %{^key => value} when value != nil <- [metadata],
          do: {name, value}

    error =
      for %{reason: %Stevedore.Error{kind: kind}} <- [metadata], do: {:stevedore_error, kind}

    [domain: [:stevedore], stevedore_event: Enum.join(event, ".")] ++ known ++ times ++ error
  end
end
