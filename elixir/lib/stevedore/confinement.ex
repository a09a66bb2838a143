defmodule Stevedore.Confinement do
  @moduledoc false
  # The pool option `:confine`: what limits the workers, as options of the worker program. Pure. One
  # schema, {key, type, doc}, is validation and docs; the program itself puts the measures on, before
  # any code of a plugin runs, and says in `hello` which are in effect (PROTOCOL §6).

  @type t :: keyword

  @max_paths 64
  @max_bytes 1_125_899_906_842_624
  @measures [
    :no_new_privs,
    :oom_score,
    :nice,
    :memory,
    :cpu,
    :files,
    :address_space,
    :file_size,
    :landlock,
    :seccomp
  ]
  @by_default [:no_new_privs, :oom_score]

  @schema [
    {:seccomp, {:one_of, [:basic, :strict]},
     "system calls that are refused. `:basic`: what ops never need (ptrace, mount, bpf, namespaces …). " <>
       "`:strict`: also other programs and processes, sockets, and signals to other processes."},
    {:landlock, :landlock,
     "the only files and directories (with everything in them) that can be opened once the worker has started; " <>
       "`:none`: no file at all. Writing includes reading. Nothing can be executed."},
    {:memory, {:integer, 1_048_576, @max_bytes},
     "bytes in use by each worker, by a cgroup (v2) of its own; beyond it the worker is killed. Takes a delegated cgroup."},
    {:address_space, {:integer, 1_048_576, @max_bytes},
     "bytes mapped by each worker, used or not; beyond it allocations fail. Each thread takes 8 MiB and more of it."},
    {:cpu, {:integer, 1, 2_147_483_647},
     "seconds of processor time in a worker's whole life; then `SIGXCPU` kills it."},
    {:files, {:integer, 32, 1_048_576}, "open descriptors in each worker."},
    {:file_size, {:integer, 1, @max_bytes},
     "bytes to which a file can grow by being written; beyond it writing fails with `EFBIG`."},
    {:nice, {:integer, 0, 19},
     "how much the workers leave the processors to others; never lowered."},
    {:oom_score, {:integer, 0, 1000},
     "how readily the kernel kills a worker when memory runs out; never lowered. Without this option 500, " <>
       "so that a worker dies before the VM; `0` leaves it as it is."},
    {:require, {:list_of, @measures},
     "measures without which no worker starts, by their names here (or `:no_new_privs`, which is always wanted). " <>
       "Any other that cannot be had is only logged."}
  ]

  @flags [
    seccomp: "--seccomp",
    memory: "--limit-memory",
    address_space: "--limit-address-space",
    cpu: "--limit-cpu",
    files: "--limit-files",
    file_size: "--limit-file-size",
    nice: "--nice",
    oom_score: "--oom-score-adj"
  ]

  @doc "Returns the options if they are right, or raises an `ArgumentError` that names key and value."
  @spec validate!(t) :: t
  def validate!(options) do
    unless Keyword.keyword?(options) do
      raise ArgumentError, "pool option :confine must be a keyword list, got: #{inspect(options)}"
    end

    Enum.each(options, fn {key, value} -> check!(List.keyfind(@schema, key, 0), key, value) end)
    :ok = check_asked_for!(options)
    options
  end

  defp check!(nil, key, value) do
    raise ArgumentError,
          "unknown confine option #{inspect(key)} (value: #{inspect(value)})" <>
            Stevedore.Options.others(key, Enum.map(@schema, &elem(&1, 0)))
  end

  defp check!({key, type, _doc}, key, value) do
    unless valid?(type, value) do
      raise ArgumentError,
            "confine option #{inspect(key)} must be #{describe(type)}, got: #{inspect(value)}"
    end
  end

  defp check_asked_for!(options) do
    for name <- Keyword.get(options, :require, []), not wanted?(name, options) do
      raise ArgumentError,
            "confine option :require names #{inspect(name)}, but nothing asks for it: " <>
              "it takes the confine option #{inspect(name)}"
    end

    :ok
  end

  defp wanted?(name, options) do
    Keyword.get(options, name, if(name in @by_default, do: :by_default, else: 0)) != 0
  end

  @doc "The options as arguments of the worker program. Paths are expanded."
  @spec args(t) :: [String.t()]
  def args(options), do: Enum.flat_map(options, fn {key, value} -> arg(key, value) end)

  defp arg(:require, []), do: []
  defp arg(:require, names), do: ["--require", Enum.join(names, ",")]
  defp arg(:landlock, :none), do: ["--landlock-none"]

  defp arg(:landlock, paths) do
    case for {access, list} <- paths, path <- list, do: [flag(access), Path.expand(path)] do
      [] -> ["--landlock-none"]
      args -> Enum.concat(args)
    end
  end

  defp arg(key, value), do: [Keyword.fetch!(@flags, key), to_string(value)]

  defp flag(:read), do: "--landlock-read"
  defp flag(:write), do: "--landlock-write"

  @doc "The options as a Markdown list."
  @spec docs() :: String.t()
  def docs do
    Enum.map_join(@schema, "\n", fn {key, type, doc} ->
      "  * `:#{key}` (#{describe(type)}): #{doc}"
    end)
  end

  defp valid?({:integer, min, max}, value), do: is_integer(value) and value in min..max//1
  defp valid?({:one_of, values}, value), do: value in values

  defp valid?({:list_of, values}, list),
    do: is_list(list) and Enum.all?(list, &(&1 in values))

  defp valid?(:landlock, :none), do: true

  defp valid?(:landlock, paths) do
    Keyword.keyword?(paths) and
      Enum.all?(paths, fn {access, list} -> access in [:read, :write] and paths?(list) end) and
      paths |> Keyword.values() |> Enum.concat() |> length() <= @max_paths
  end

  defp paths?(list), do: is_list(list) and Enum.all?(list, &path?/1)

  defp path?(path), do: is_binary(path) and path != "" and not String.contains?(path, <<0>>)

  defp describe({:integer, min, max}), do: "an integer from #{min} to #{max}"
  defp describe({:one_of, values}), do: Enum.map_join(values, " or ", &"`#{inspect(&1)}`")

  defp describe({:list_of, values}),
    do: "a list of #{Enum.map_join(values, ", ", &"`#{inspect(&1)}`")}"

  defp describe(:landlock),
    do: "`:none`, or `[read: paths, write: paths]` with at most #{@max_paths} paths"
end
