defmodule Stevedore.Options do
  @moduledoc false
  # One schema per set of options: {key, type, default, doc}. Validation, defaults and the tables in
  # the docs all come from it. A wrong option is an ArgumentError that names key and value.

  alias Stevedore.Protocol

  @type schema :: [{key :: atom, type :: term, default :: term, doc :: String.t()}]

  @day 86_400_000
  @wire_max 2_147_483_647

  @pool [
    {:name, :name, :required,
     "the pool's name, by which it is called. The processes and the ETS table of the pool are named after it."},
    {:workers, {:integer, 1, 1024}, 2,
     "OS processes. A crash takes down the jobs of one of them while the others go on serving; two also overlap better than one."},
    {:threads, {:nilable, {:integer, 1, 1024}}, nil,
     "threads in each worker, which is how many jobs it runs at once. `nil`: what the machine (its CPU quota included) allows."},
    {:plugins, {:list, :path}, [], "shared objects that add ops, see `stevedore.h`."},
    {:executable, {:nilable, :path}, nil,
     "the worker program. `nil`: the one that was built with this library."},
    {:args, {:list, :string}, [],
     "more command-line arguments for the worker program, after those made from these options."},
    {:env, :env, [],
     "environment variables as `{name, value}` strings; the value `false` unsets one. All others are inherited."},
    {:max_queue, {:nilable, {:integer, 1, 16_777_216}}, nil,
     "jobs that may wait in each worker before it answers `overloaded`. `nil`: the worker's own limit (PROTOCOL §10)."},
    {:max_frame, {:integer, 65_536, 1_073_741_824}, 67_108_864,
     "bytes of the largest request or reply; a larger one is `too_large`."},
    {:timeout, :timeout, 60_000, "default of the call option."},
    {:queue_timeout, :timeout, 30_000, "default of the call option."},
    {:kill_after, {:integer, 1, @day}, 1_000,
     "ms a caller waits for the answer beyond `queue_timeout` + `timeout`, which the worker itself enforces, before it gives up."},
    {:boot_timeout, {:integer, 1, @day}, 10_000,
     "ms a worker may take from its start until it has answered `hello`."},
    {:drain_timeout, {:integer, 0, @day}, 15_000,
     "ms that running jobs may take to finish when the pool stops; then they are asked to stop."},
    {:backoff_min, {:integer, 1, @day}, 100,
     "ms before the second of two restarts in a row; the first is immediate, the next ones wait twice as long each."},
    {:backoff_max, {:integer, 1, @day}, 10_000, "ms, the longest wait between two restarts."}
  ]

  @call [
    {:timeout, :timeout, {:pool, :timeout},
     "ms the job may run, from its start, or `:infinity`. Then it is asked to stop and ends as `timed_out`."},
    {:queue_timeout, :timeout, {:pool, :queue_timeout},
     "ms the job may wait for a worker and in its queue, or `:infinity`. Then it ends as `queue_timeout` (or as " <>
       "`unavailable` if there was no worker to wait in) and never ran."},
    {:priority, {:integer, 0, 9}, 5,
     "0 goes first; first come, first served within one priority."},
    {:on_progress, :progress, nil,
     "a pid, which is sent `{:stevedore_progress, job.ref, done, total}`, or a function of `done` and `total`, " <>
       "which is called by the process that waits for the result, while it waits. `total` is 0 if unknown."},
    {:progress_interval, {:integer, 1, @wire_max}, 100,
     "ms, at least, between two reports of progress."}
  ]

  @stream [
    {:ordered, :boolean, true,
     "whether results come in the order of the input, or as they finish."},
    {:max_concurrency, {:nilable, {:integer, 1, @wire_max}}, nil,
     "jobs in flight at once. `nil`: twice the threads of the pool's workers."}
  ]

  @doc "The options of a pool as a map, defaults filled in."
  @spec pool!(keyword) :: map
  def pool!(options) when is_list(options) do
    options = Map.new(validate!(options, @pool, "pool"))

    Enum.reduce(@pool, %{}, fn {key, _type, default, _doc}, all ->
      Map.put(all, key, fetch!(options, key, default))
    end)
  end

  @doc """
  What callers need of a pool's options: the defaults of every call, two limits, and what follows from
  them: `wire`, as the worker is sent them, and `limit`, the ms after which a caller gives up.
  """
  @spec call_defaults(map) :: map
  def call_defaults(pool_options) do
    pool_options
    |> Map.take([:timeout, :queue_timeout, :kill_after, :max_frame])
    |> Map.merge(%{priority: 5, on_progress: nil, progress_interval: 100})
    |> encode()
  end

  @doc "The options of one call over those defaults."
  @spec call!(keyword, map) :: map
  def call!([], defaults), do: defaults
  def call!(options, defaults), do: encode(Enum.into(validate!(options, @call, "call"), defaults))

  @doc "The options of a call that has waited so many ms already."
  @spec waited(map, non_neg_integer) :: map
  def waited(options, 0), do: options
  def waited(%{queue_timeout: :infinity} = options, _ms), do: options

  def waited(options, ms),
    do: encode(%{options | queue_timeout: max(1, options.queue_timeout - ms)})

  defp encode(options) do
    wire = [
      timeout: options.timeout,
      queue_timeout: options.queue_timeout,
      priority: if(options.priority != 5, do: options.priority),
      progress: options.on_progress && options.progress_interval
    ]

    Map.merge(options, %{wire: Protocol.encode_options(wire), limit: limit(options)})
  end

  defp limit(%{queue_timeout: queue, timeout: run, kill_after: more})
       when is_integer(queue) and is_integer(run),
       do: queue + run + more

  defp limit(_endless), do: :infinity

  @doc "Splits the options of a stream into its own and those of its calls; validates its own."
  @spec stream!(keyword) :: {map, keyword}
  def stream!(options) do
    {own, call} = Keyword.split(options, for({key, _, _, _} <- @stream, do: key))
    defaults = Map.new(@stream, fn {key, _type, default, _doc} -> {key, default} end)
    {Enum.into(validate!(own, @stream, "stream"), defaults), validate!(call, @call, "call")}
  end

  @doc "The options as a Markdown list."
  @spec docs(:pool | :call | :stream) :: String.t()
  def docs(:pool), do: docs_of(@pool)
  def docs(:call), do: docs_of(@call)
  def docs(:stream), do: docs_of(@stream)

  defp docs_of(schema) do
    Enum.map_join(schema, "\n", fn {key, type, default, doc} ->
      "  * `:#{key}` (#{describe(type)}#{describe_default(default)}): #{doc}"
    end)
  end

  defp describe_default(:required), do: ", required"
  defp describe_default({:pool, key}), do: ", default: the pool's `:#{key}`"
  defp describe_default(default), do: ", default: `#{inspect(default)}`"

  defp validate!(options, schema, what) do
    Enum.each(options, fn
      {key, value} ->
        check!(List.keyfind(schema, key, 0), key, value, what)

      other ->
        raise ArgumentError, "a #{what} option must be {key, value}, got: #{inspect(other)}"
    end)

    options
  end

  defp check!(nil, key, value, what) do
    raise ArgumentError, "unknown #{what} option #{inspect(key)} (value: #{inspect(value)})"
  end

  defp check!({key, type, _default, _doc}, key, value, what) do
    unless valid?(type, value) do
      raise ArgumentError,
            "#{what} option #{inspect(key)} must be #{describe(type)}, got: #{inspect(value)}"
    end
  end

  defp fetch!(options, key, :required) do
    Map.get(options, key) || raise ArgumentError, "pool option #{inspect(key)} is required"
  end

  defp fetch!(options, key, default), do: Map.get(options, key, default)

  defp valid?(:name, value), do: is_atom(value) and value not in [nil, true, false]
  defp valid?(:boolean, value), do: is_boolean(value)
  defp valid?(:string, value), do: is_binary(value) and not String.contains?(value, <<0>>)
  defp valid?(:path, value), do: valid?(:string, value) and value != ""
  defp valid?(:timeout, value), do: value == :infinity or valid?({:integer, 1, @wire_max}, value)
  defp valid?(:progress, value), do: is_nil(value) or is_pid(value) or is_function(value, 2)
  defp valid?({:nilable, type}, value), do: is_nil(value) or valid?(type, value)
  defp valid?({:list, type}, value), do: is_list(value) and Enum.all?(value, &valid?(type, &1))
  defp valid?({:integer, min, max}, value), do: is_integer(value) and value in min..max//1

  defp valid?(:env, value) when is_list(value) or is_map(value) do
    Enum.all?(value, fn
      {name, value} -> valid?(:path, name) and (value == false or valid?(:string, value))
      _other -> false
    end)
  end

  defp valid?(:env, _value), do: false

  defp describe(:name), do: "an atom"
  defp describe(:boolean), do: "a boolean"
  defp describe(:string), do: "a string"
  defp describe(:path), do: "a path"
  defp describe(:timeout), do: "ms from 1 to #{@wire_max}, or `:infinity`"
  defp describe(:progress), do: "a pid, a function of two arguments or `nil`"
  defp describe(:env), do: "a map or list of `{string, string | false}`"
  defp describe({:nilable, type}), do: describe(type) <> " or `nil`"
  defp describe({:list, :path}), do: "a list of paths"
  defp describe({:list, :string}), do: "a list of strings"
  defp describe({:integer, min, max}), do: "an integer from #{min} to #{max}"
end
