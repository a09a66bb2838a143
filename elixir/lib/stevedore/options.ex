defmodule Stevedore.Options do
  @moduledoc false
  # One schema per set of options: {key, type, default, doc}. Validation, defaults and the tables in
  # the docs all come from it. A wrong option is an ArgumentError that names key and value.

  alias Stevedore.{Confinement, Protocol}

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
    {:max_queue, {:integer, 1, 16_777_216}, 65_536,
     "jobs that may wait in the whole pool, beyond those that run; more are `:overloaded` at once."},
    {:max_frame, {:integer, 65_536, 1_073_741_824}, 67_108_864,
     "bytes of the largest request or reply; a larger one is `too_large`."},
    {:timeout, :timeout, 60_000, "default of the call option."},
    {:queue_timeout, :timeout, 30_000, "default of the call option."},
    {:kill_after, {:integer, 1, @day}, 1_000, "default of the call option."},
    {:boot_timeout, {:integer, 1, @day}, 10_000,
     "ms a worker may take from its start until it has answered `hello`."},
    {:drain_timeout, {:integer, 0, @day}, 15_000,
     "ms that running jobs may take to finish when their worker has to go; then they are asked to stop. " <>
       "It is also how long the neighbours of a stuck job have."},
    {:backoff_min, {:integer, 1, @day}, 100,
     "ms before a worker is started again that ended twice in a row without having taken a job; each further " <>
       "time doubles it. A worker that dies of a job is replaced at once."},
    {:backoff_max, {:integer, 1, @day}, 10_000, "ms, the longest wait between two starts."},
    {:circuit, {:integer, 1, 1_000}, 5,
     "ends in a row without a job after which the circuit opens: while no worker is ready, calls are " <>
       "`:unavailable` at once, and one worker at a time is tried."},
    {:quarantine, :quarantine, [deaths: 3, window: 3_600_000, for: 3_600_000],
     "an op with the same arguments that has caused so many deaths of workers within `window` ms is refused " <>
       "`for` ms. `false`: never."},
    {:max_jobs, {:nilable, {:integer, 1, 1_000_000_000}}, nil,
     "jobs after which a worker is replaced. This, `:max_age`, `:max_idle` and `:max_rss` count with a jitter of a " <>
       "tenth, and never replace two workers at once; the new one is ready before the old one drains."},
    {:max_age, {:nilable, {:integer, 1, @wire_max}}, nil, "ms after which a worker is replaced."},
    {:max_idle, {:nilable, {:integer, 1, @wire_max}}, nil,
     "ms without a job after which a worker that has had one is replaced, which gives its memory back."},
    {:max_rss, {:nilable, {:integer, 1_048_576, 1_099_511_627_776}}, nil,
     "bytes of resident memory above which a worker is replaced (seen in two samples, a second apart)."},
    {:kill_rss, {:nilable, {:integer, 1_048_576, 1_099_511_627_776}}, nil,
     "bytes of resident memory above which a worker is killed at once."},
    {:confine, :confine, [], "limits and sandbox of the worker program, below."}
  ]

  @call [
    {:timeout, :timeout, {:pool, :timeout},
     "ms the job may run, from its start, or `:infinity`. Then it is asked to stop and ends as `timed_out`."},
    {:queue_timeout, :timeout, {:pool, :queue_timeout},
     "ms the job may wait for a worker and in its queue, or `:infinity`. Then it ends as `queue_timeout` and " <>
       "never ran."},
    {:kill_after, {:integer, 1, @day}, {:pool, :kill_after},
     "ms a job may go on after it was asked to stop, by its timeout or by `Stevedore.cancel/1`. Then it ends all the " <>
       "same, with its native stack in the error, and its worker is replaced and killed."},
    {:idempotent, {:nilable, :boolean}, nil,
     "whether it may be run again, once, if its worker dies while it runs. `nil`: what the op itself says."},
    {:priority, {:integer, 0, 9}, 5,
     "0 goes first; first come, first served within one priority."},
    {:on_progress, :progress, nil,
     "a pid, which is sent `{:stevedore_progress, job.ref, done, total}` (on another node, as far as the connection " <>
       "takes it at once), or a function of `done` and `total`, " <>
       "which is called by the process that waits for the result, while it waits. `total` is 0 if unknown."},
    {:progress_interval, {:integer, 1, @wire_max}, 100,
     "ms, at least, between two reports of progress."},
    {:context, :any, {:default, "OpenTelemetry's current context, where that library is"},
     "found again in the metadata of all of the job's telemetry events, whoever emits them."}
  ]

  @stream [
    {:ordered, :boolean, true,
     "whether results come in the order of the input, or as they finish."},
    {:max_concurrency, {:nilable, {:integer, 1, @wire_max}}, nil,
     "jobs in flight at once. `nil`: twice the threads of the pool's workers."}
  ]

  @group [
    {:name, :name, :required,
     "the group's name, the same on all nodes. The processes and the ETS table of the group are named after it."},
    {:pool, :name, :required,
     "the name of the pool, the same on all nodes. A node without it can call the group all the same."},
    {:gossip, {:integer, 10, 60_000}, 500,
     "ms between two messages in which each node tells the others how busy its pool is."}
  ]

  @drain [
    {:timeout, :grace, 15_000,
     "ms that running jobs may take to finish; then they are asked to stop."}
  ]

  @doc "The options of a `Stevedore.Group` as a map, defaults filled in."
  @spec group!(keyword) :: map
  def group!(options) do
    options = Map.new(validate!(options, @group, "group"))

    Map.new(@group, fn {key, _type, default, _doc} ->
      {key, fetch!(options, key, default, "group")}
    end)
  end

  @doc "The options of a pool as a map, defaults filled in, `directory`, where black boxes begin, and
  `generation`, which each restart counts up."
  @spec pool!(keyword) :: map
  def pool!(options) do
    options = Map.new(validate!(options, @pool, "pool"))

    Enum.reduce(@pool, %{directory: directory(), generation: 0}, fn {key, _type, default, _doc},
                                                                    all ->
      Map.put(all, key, fetch!(options, key, default, "pool"))
    end)
  end

  # In memory where the system has such a place.
  defp directory, do: Enum.find(["/dev/shm"], System.tmp_dir!(), &writable?/1)

  defp writable?(path), do: match?({:ok, %File.Stat{access: :read_write}}, File.stat(path))

  # What may change while the pool lives, by Stevedore.restart/2.
  @restart [:executable, :plugins, :args, :env, :threads, :confine, :boot_timeout, :drain_timeout]

  @doc "The options of a pool after a restart with these."
  @spec restart!(keyword, map) :: map
  def restart!(options, pool_options) do
    for {key, _value} <- validate!(options, @pool, "restart"), key not in @restart do
      raise ArgumentError,
            "a restart cannot change #{inspect(key)}, only #{Enum.map_join(@restart, ", ", &inspect/1)}"
    end

    Enum.into(options, %{pool_options | generation: pool_options.generation + 1})
  end

  @doc "How many ms the jobs of a pool that drains have. For ever is 24 days, the most that a worker can be told."
  @spec drain!(keyword) :: non_neg_integer
  def drain!(options) do
    [{:timeout, _type, default, _doc}] = @drain
    min(Keyword.get(validate!(options, @drain, "drain"), :timeout, default), @wire_max)
  end

  # How long beyond all its limits a caller waits for a worker to say so, in ms.
  @margin 1_000

  @doc """
  What callers need of a pool's options: the defaults of every call, two limits, and what follows from
  them: `wire`, as the worker is sent them, `limit`, the ms after which a caller gives up, and the times
  in the clock's own unit.
  """
  @spec call_defaults(map) :: map
  def call_defaults(pool_options) do
    pool_options
    |> Map.take([:timeout, :queue_timeout, :kill_after, :max_frame, :max_queue, :drain_timeout])
    |> Map.merge(%{priority: 5, on_progress: nil, progress_interval: 100, idempotent: nil})
    |> Map.put(:pool_kill_after, pool_options.kill_after)
    |> encode()
  end

  @doc "The options of one call over those defaults."
  @spec call!(keyword, map) :: map
  def call!([], defaults), do: defaults
  def call!(options, defaults), do: encode(Enum.into(validate!(options, @call, "call"), defaults))

  @doc "Validates the options of one call, for a pool whose defaults are not known here."
  @spec validate_call!(keyword) :: keyword
  def validate_call!(options), do: validate!(options, @call, "call")

  defp encode(options) do
    wire = [
      timeout: options.timeout,
      queue_timeout: options.queue_timeout,
      # The worker has been told the pool's own on its command line.
      kill_after: if(options.kill_after != options.pool_kill_after, do: options.kill_after),
      priority: if(options.priority != 5, do: options.priority),
      progress: options.on_progress && options.progress_interval
    ]

    limit = limit(options)

    Map.merge(options, %{
      wire: Protocol.encode_options(wire),
      limit: limit,
      limit_native: native(limit),
      queue_native: native(options.queue_timeout)
    })
  end

  defp limit(%{queue_timeout: queue, timeout: run, kill_after: more})
       when is_integer(queue) and is_integer(run),
       do: queue + run + more + @margin

  defp limit(_endless), do: :infinity

  defp native(:infinity), do: :infinity
  defp native(ms), do: System.convert_time_unit(ms, :millisecond, :native)

  @doc "The options of a call, all of which are valid."
  @spec checked_call!(keyword) :: keyword
  def checked_call!(options), do: validate!(options, @call, "call")

  @doc "Splits the options of a stream into its own and those of its calls; validates its own."
  @spec stream!(keyword) :: {map, keyword}
  def stream!(options) do
    {own, call} = Keyword.split(options, for({key, _, _, _} <- @stream, do: key))
    defaults = Map.new(@stream, fn {key, _type, default, _doc} -> {key, default} end)
    {Enum.into(validate!(own, @stream, "stream"), defaults), validate!(call, @call, "call")}
  end

  @doc "The options as a Markdown list."
  @spec docs(:pool | :call | :stream | :group) :: String.t()
  def docs(:pool), do: docs_of(@pool)
  def docs(:call), do: docs_of(@call)
  def docs(:stream), do: docs_of(@stream)
  def docs(:group), do: docs_of(@group)

  defp docs_of(schema) do
    Enum.map_join(schema, "\n", fn {key, type, default, doc} ->
      "  * `:#{key}` (#{describe(type)}#{describe_default(default)}): #{doc}"
    end)
  end

  defp describe_default(:required), do: ", required"
  defp describe_default({:default, words}), do: ", default: #{words}"
  defp describe_default({:pool, key}), do: ", default: the pool's `:#{key}`"
  defp describe_default(default), do: ", default: `#{inspect(default)}`"

  @doc "The options, if they are a list."
  @spec list!(term, String.t()) :: list
  def list!(options, _what) when is_list(options), do: options

  def list!(options, what) do
    raise ArgumentError,
          "#{what} options must be a keyword list, got: #{inspect(options)}" <>
            hint(options, what)
  end

  defp hint(ms, "call") when is_integer(ms) and ms > 0, do: ": did you mean timeout: #{ms}?"
  defp hint(_other, _what), do: ""

  defp validate!(options, schema, what) do
    Enum.each(list!(options, what), fn
      {key, value} ->
        check!(List.keyfind(schema, key, 0), key, value, what, schema)

      other ->
        raise ArgumentError, "a #{what} option must be {key, value}, got: #{inspect(other)}"
    end)

    options
  end

  defp check!(nil, key, value, what, schema) do
    raise ArgumentError,
          "unknown #{what} option #{inspect(key)} (value: #{inspect(value)})" <>
            others(key, Enum.map(schema, &elem(&1, 0)))
  end

  defp check!({key, type, _default, _doc}, key, value, what, _schema) do
    unless valid?(type, value) do
      raise ArgumentError,
            "#{what} option #{inspect(key)} must be #{describe(type)}, got: #{inspect(value)}"
    end
  end

  # How alike two names are for one to be a slip of the other.
  @alike 0.8

  @doc "What to say of a key that is none of these: the one that may be meant, or all."
  @spec others(term, [atom]) :: String.t()
  def others(key, keys) do
    written = key |> inspect() |> String.trim_leading(":")
    likeness = &String.jaro_distance(Atom.to_string(&1), written)
    best = Enum.max_by(keys, likeness)

    if likeness.(best) >= @alike,
      do: ": did you mean #{inspect(best)}?",
      else: ": there are #{Enum.map_join(keys, ", ", &inspect/1)}"
  end

  defp fetch!(options, key, :required, what) do
    Map.get(options, key) || raise ArgumentError, "#{what} option #{inspect(key)} is required"
  end

  defp fetch!(options, key, default, _what), do: Map.get(options, key, default)

  defp valid?(:name, value), do: is_atom(value) and value not in [nil, true, false]
  defp valid?(:any, _value), do: true
  defp valid?(:boolean, value), do: is_boolean(value)
  defp valid?(:string, value), do: is_binary(value) and not String.contains?(value, <<0>>)
  defp valid?(:path, value), do: valid?(:string, value) and value != ""
  defp valid?(:timeout, value), do: value == :infinity or valid?({:integer, 1, @wire_max}, value)
  defp valid?(:grace, value), do: value == :infinity or valid?({:integer, 0, @wire_max}, value)
  defp valid?(:progress, value), do: is_nil(value) or is_pid(value) or is_function(value, 2)
  defp valid?({:nilable, type}, value), do: is_nil(value) or valid?(type, value)
  defp valid?({:list, type}, value), do: is_list(value) and Enum.all?(value, &valid?(type, &1))
  defp valid?({:integer, min, max}, value), do: is_integer(value) and value in min..max//1

  defp valid?(:confine, value), do: is_list(value) and Confinement.validate!(value) == value

  defp valid?(:quarantine, false), do: true

  defp valid?(:quarantine, value) when is_list(value) do
    Enum.sort(Keyword.keys(value)) == [:deaths, :for, :window] and
      Enum.all?(value, fn {_key, number} -> valid?({:integer, 1, @wire_max}, number) end)
  end

  defp valid?(:quarantine, _value), do: false

  defp valid?(:env, value) when is_list(value) or is_map(value) do
    Enum.all?(value, fn
      {name, value} -> valid?(:path, name) and (value == false or valid?(:string, value))
      _other -> false
    end)
  end

  defp valid?(:env, _value), do: false

  defp describe(:name), do: "an atom"
  defp describe(:any), do: "any term"
  defp describe(:boolean), do: "a boolean"
  defp describe(:string), do: "a string"
  defp describe(:path), do: "a path"
  defp describe(:timeout), do: "ms from 1 to #{@wire_max}, or `:infinity`"
  defp describe(:grace), do: "ms from 0 to #{@wire_max}, or `:infinity`"
  defp describe(:progress), do: "a pid, a function of two arguments or `nil`"
  defp describe(:confine), do: "a keyword list"

  defp describe(:quarantine),
    do: "`false`, or a keyword list with all of `:deaths`, `:window` and `:for`"

  defp describe(:env), do: "a map or list of `{string, string | false}`"
  defp describe({:nilable, type}), do: describe(type) <> " or `nil`"
  defp describe({:list, :path}), do: "a list of paths"
  defp describe({:list, :string}), do: "a list of strings"
  defp describe({:integer, min, max}), do: "an integer from #{min} to #{max}"
end
