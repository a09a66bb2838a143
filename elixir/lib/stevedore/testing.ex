defmodule Stevedore.Testing do
  @moduledoc """
  For the tests of an application that calls Stevedore. With ExUnit, in `setup` or a test; what is started here ends with the test.

  | to test | use |
  |---|---|
  | the native code, and that it is called rightly | `start_pool!/1`: a real worker |
  | what the application does with a result, or with an error that is hard to provoke | `stub/2`: a pool whose ops are functions |
  | the same, where even the pool's name does not matter | a mock of `Stevedore.Behaviour` |
  | that a crash, a hang or an overload is survived | `crash!/2` and others: the real thing, with the fault plugin |

      defmodule MyApp.DigestTest do
        use ExUnit.Case, async: true

        import Stevedore.Testing

        test "the real op" do
          pool = start_pool!()
          assert {:ok, "352441c2"} = Stevedore.call(pool, "digest", %{algorithm: "crc32", data: "abc"})
        end

        test "an op that crashes" do
          pool = stub(unique_name(), %{"digest" => fn _args -> error(:crashed) end})
          assert {:error, %Stevedore.Error{kind: :crashed}} = Stevedore.call(pool, "digest", %{})
        end
      end
  """

  alias Stevedore.Error
  alias Stevedore.Testing.Stub

  @compile {:no_warn_undefined, ExUnit.Callbacks}

  @doc "A name for a pool that no other test has."
  @spec unique_name() :: atom
  def unique_name do
    Module.concat(__MODULE__, "Pool#{System.unique_integer([:positive])}")
  end

  ## Real pools

  @doc """
  Starts a real pool for the test and returns its name. It is small: one worker with two threads, and it waits for nothing
  long. All options of a pool may be given.

      pool = Stevedore.Testing.start_pool!(plugins: ["priv/thumbnail.so"])
      pool = Stevedore.Testing.start_pool!(name: MyApp.Native)
  """
  @spec start_pool!(keyword) :: atom
  def start_pool!(options \\ []) do
    defaults = [
      name: unique_name(),
      workers: 1,
      threads: 2,
      queue_timeout: 5_000,
      timeout: 10_000,
      drain_timeout: 100
    ]

    options = Keyword.merge(defaults, options)
    _pid = ExUnit.Callbacks.start_supervised!({Stevedore, options}, id: options[:name])
    options[:name]
  end

  ## Drills

  @doc """
  The path of the fault plugin, which comes with the library: its ops crash, hang, leak and print.

      pool = Stevedore.Testing.start_pool!(plugins: [Stevedore.Testing.fault_plugin()])
      {:error, %Stevedore.Error{kind: :timed_out}} = Stevedore.call(pool, "fault.hang", %{}, timeout: 50, kill_after: 50)
  """
  @spec fault_plugin() :: Path.t()
  def fault_plugin, do: Application.app_dir(:stevedore, "priv/plugins/fault.so")

  @doc """
  A real crash: a job that kills its worker, in a pool that has the fault plugin. Returns its error. Whatever else runs in
  that worker is lost, and the pool starts another one, as in earnest.

      pool = Stevedore.Testing.start_pool!(plugins: [Stevedore.Testing.fault_plugin()])
      %Stevedore.Error{kind: :crashed, details: %{"signal" => "SIGSEGV"}} = Stevedore.Testing.crash!(pool)

  `signal` is one of `"SEGV"`, `"BUS"`, `"FPE"`, `"ILL"`, `"ABRT"`, `"TRAP"`, `"SYS"`, `"TERM"` and `"KILL"`. The third crash with the
  same signal within an hour is the last: then the job is quarantined (the pool's option `:quarantine`).
  """
  @spec crash!(Stevedore.pool(), String.t()) :: Error.t()
  def crash!(pool, signal \\ "SEGV") do
    case Stevedore.call(pool, "fault.crash", %{signal: signal}, idempotent: false) do
      {:error, %Error{kind: :unknown_op}} -> raise ArgumentError, no_fault_plugin(pool)
      {:error, error} -> error
    end
  end

  defp no_fault_plugin(pool) do
    "the pool #{inspect(pool)} does not have the fault plugin: start it with plugins: [Stevedore.Testing.fault_plugin()]"
  end

  ## Stubs

  @typedoc "What stands in for an op: its arguments make a result, or `{:ok, value}`, or `error/2`."
  @type stub :: (term -> {:ok, term} | {:error, Error.t()})

  @doc """
  Starts a pool without a worker, whose ops are these functions, and returns its name. If it is there already, the ops are added to
  those that it has.

      pool =
        Stevedore.Testing.stub(MyApp.Native, %{
          "digest" => fn %{data: data} -> {:ok, Base.encode16(:crypto.hash(:sha256, data), case: :lower)} end,
          "thumbnail" => fn _args -> Stevedore.Testing.error(:crashed) end
        })

  Everything up to the worker is real: options are validated, arguments are encoded and results decoded, jobs can be awaited,
  watched, cancelled and streamed, and there is telemetry. So

    * arguments come as a worker would see them; what cannot be encoded is a `:bad_request`
    * results come back as a worker would make them: atoms are binaries, but for `true`, `false` and `nil`
    * an op that is not there is `:unknown_op`; a function that raises makes its job `:crashed`, with what it raised in the message
    * `Stevedore.Testing.progress/2` in a function reports progress

  Each job is a process. They keep no `timeout` and no `queue_timeout`, and there are no threads to wait for; an error of that kind is
  made with `error/2`. `Stevedore.stats/1`, `restart/2`, `resize/2` and `drain/2` need a real pool.
  """
  @spec stub(atom, %{(String.t() | atom) => stub}) :: atom
  def stub(pool, ops) when is_atom(pool) and is_map(ops) do
    _pid =
      Stub.add(pool, ops) || ExUnit.Callbacks.start_supervised!({Stub, {pool, ops}}, id: pool)

    pool
  end

  @doc "Reports progress of the stubbed job in whose function this is called."
  @spec progress(non_neg_integer, non_neg_integer) :: :ok
  defdelegate progress(done, total), to: Stub

  @doc """
  An error as a job may end with, of any kind, with the details that the kind has: what a stub or a mock returns.

      {:error, %Stevedore.Error{kind: :lost}} = Stevedore.Testing.error(:lost)
      {:error, %Stevedore.Error{}} = Stevedore.Testing.error(:failed, message: "no such image", details: %{"code" => "not_found"})

  Options are the fields of `Stevedore.Error`. `:details` are added to those of the kind.
  """
  @spec error(Error.kind(), keyword) :: {:error, Error.t()}
  def error(kind, fields \\ []) do
    unless kind in Error.kinds() do
      raise ArgumentError,
            "there is no error kind #{inspect(kind)}, only #{inspect(Error.kinds())}"
    end

    {message, details} = example(kind)
    {more, fields} = Keyword.pop(fields, :details, %{})

    {:error,
     struct!(
       %Error{
         kind: kind,
         message: message,
         details: Map.merge(details, more),
         receipt: receipt(kind)
       },
       fields
     )}
  end

  defp example(:bad_request), do: {"the arguments hold a term that has no native form", %{}}
  defp example(:unknown_op), do: {"no op of that name", %{}}

  defp example(:bad_args),
    do: {"bad argument data", %{"arg" => "data", "expected" => "a binary"}}

  defp example(:failed), do: {"it failed", %{"code" => "failed"}}
  defp example(:cancelled), do: {"cancelled", %{}}

  defp example(:queue_timeout),
    do: {"waited longer than its queue_timeout allowed", %{"limit_ms" => 5_000}}

  defp example(:timed_out), do: {"ran longer than its timeout allowed", %{"limit_ms" => 10_000}}

  defp example(:crashed) do
    {"SIGSEGV at 0x0 in run_stub (stub.so)",
     %{
       "signal" => "SIGSEGV",
       "address" => "0x0",
       "backtrace" => ["run_stub+0x7 (stub.so)"],
       "reason" => "killed by SIGSEGV",
       "ran_us" => 100
     }}
  end

  defp example(:lost),
    do: {"its worker died of another job, and may have run it", %{"state" => "running"}}

  defp example(:overloaded),
    do: {"65536 jobs wait in the pool already", %{"what" => "jobs", "limit" => 65_536}}

  defp example(:quarantined) do
    {"the same op and arguments have killed workers repeatedly", %{"retry_after_ms" => 3_600_000}}
  end

  defp example(:unavailable), do: {"no worker of the pool can be kept running", %{}}
  defp example(:too_large), do: {"the request is too large", %{"limit" => 67_108_864}}
  defp example(:no_memory), do: {"out of memory", %{}}

  # What a worker has measured. Who died has measured nothing.
  defp receipt(kind) when kind in [:crashed, :lost, :quarantined, :unavailable, :overloaded],
    do: nil

  defp receipt(_kind), do: %{queued_us: 0, ran_us: 0, cpu_us: 0}
end
