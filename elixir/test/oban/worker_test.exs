if Code.ensure_loaded?(Oban.Worker) do
  defmodule Stevedore.Oban.WorkerTest do
    use Stevedore.ObanCase, async: true

    import ExUnit.CaptureLog

    alias Stevedore.Oban.{Failure, Outcome}
    alias Stevedore.Test.NativeJob

    defmodule Watched do
      use Stevedore.Oban,
        pool: :set_by_args,
        op: "sleep",
        call: [progress_interval: 20, priority: 2],
        priority: 3

      def pool(job), do: String.to_existing_atom(job.args["pool"])
      def args(job), do: %{ms: job.args["ms"]}

      def handle_progress({done, total}, job) do
        send(receiver(job), {:progress, self(), done, total})
        if job.args["raise"], do: raise("in handle_progress/2")
      end

      def handle_result(value, job) do
        send(receiver(job), {:result, value})
        if job.args["snooze"], do: {:snooze, 60}, else: :ok
      end

      def receiver(job), do: job.args["test"] |> Base.decode64!() |> :erlang.binary_to_term()
    end

    defmodule Stalling do
      use Stevedore.Oban, pool: :set_by_args, op: "set_by_args", stall_timeout: 200

      def pool(job), do: String.to_existing_atom(job.args["pool"])
      def op(job), do: job.args["op"]
      def args(job), do: job.args["args"]
    end

    defmodule Overriding do
      use Stevedore.Oban,
        pool: :set_by_args,
        op: "fault.crash",
        outcomes: [crashed: :cancel, failed: {:snooze, first: 40, most: 40, times: 1}]

      def pool(job), do: String.to_existing_atom(job.args["pool"])
      def op(job), do: job.args["op"] || super(job)
      def args(job), do: job.args["args"] || %{}
      def handle_error(%{kind: :bad_args}, _job), do: {:cancel, "mine"}
      def handle_error(error, job), do: super(error, job)
    end

    defmodule Picky do
      use Stevedore.Oban, pool: :set_by_args, op: "echo"
      def pool(job), do: String.to_existing_atom(job.args["pool"])
      def args(_job), do: "secret secret"
      def handle_result(%{"never" => _}, _job), do: :ok
    end

    defp me, do: self() |> :erlang.term_to_binary() |> Base.encode64()

    describe "options" do
      test "Oban's pass through, ours do not reach it" do
        assert Watched.__opts__() == [worker: inspect(Watched), priority: 3]
        assert %{changes: %{priority: 3}, valid?: true} = Watched.new(%{})
        assert %{call: call, pool: :set_by_args, op: "sleep"} = Watched.__stevedore__()
        assert Enum.sort(call) == [priority: 2, progress_interval: 20]
      end

      test "are validated when the module is compiled" do
        for {options, message} <- [
              {~s(op: "echo"), "needs :pool"},
              {~s(pool: P), "needs :op"},
              {~s(pool: "P", op: "echo"), ~s(:pool of `use Stevedore.Oban` cannot be "P")},
              {~s(pool: P, op: ""), "an op must be"},
              {~s(pool: P, op: "echo", call: [timeout: 0]), "call option :timeout must be"},
              {~s(pool: P, op: "echo", call: [on_progress: nil]), "handle_progress/2"},
              {~s(pool: P, op: "echo", stall_timeout: 0), ":stall_timeout"},
              {~s(pool: P, op: "echo", outcomes: [losst: :error]),
               "unknown outcome {:losst, :error}"},
              {~s(pool: P, op: "echo", outcomes: [lost: :retry]), "outcome :lost must be"},
              {~s(pool: P, op: "echo", outcomes: [lost: {:snooze, first: 1}]),
               "outcome :lost must be"},
              {~s(pool: P, op: "echo", timeout: 5), ":timeout"}
            ] do
          code = "defmodule Stevedore.Test.Wrong do use Stevedore.Oban, #{options} end"
          error = assert_raise ArgumentError, fn -> Code.eval_string(code) end
          assert error.message =~ message
        end
      end
    end

    describe "progress and results" do
      test "reach the worker module, in the job's process" do
        pool = start_pool!()
        oban = start_oban!()
        job = insert!(oban, Watched, %{pool: pool, ms: 200, test: me()})
        assert_receive {:progress, pid, done, 200} when done in 0..200
        assert pid != self()
        assert_receive {:result, nil}
        await_state(job, "completed")
      end

      test "a handle_progress/2 that fails is logged, and the job completes" do
        pool = start_pool!()
        oban = start_oban!()

        log =
          capture_log(fn ->
            job = insert!(oban, Watched, %{pool: pool, ms: 100, test: me(), raise: true})
            assert %{errors: []} = await_state(job, "completed")
          end)

        assert log =~ "handle_progress/2 of Oban job"
        assert log =~ "in handle_progress/2"
      end

      test "handle_result/2 decides what Oban is told" do
        pool = start_pool!()
        job = insert!(start_oban!(), Watched, %{pool: pool, ms: 0, test: me(), snooze: true})
        assert %{meta: %{"snoozed" => 1}} = await_state(job, "scheduled")
      end

      test "a handle_result/2 that does not know the value is an error without it" do
        job = insert!(start_oban!(), Picky, %{pool: start_pool!()})
        assert %{errors: [%{"error" => error}]} = await_state(job, "retryable")

        assert error =~
                 "no function clause matching in Stevedore.Oban.WorkerTest.Picky.handle_result/2"

        refute error =~ "secret"
      end

      test "Oban.Testing.perform_job/3 gives the value" do
        import Oban.Testing, only: [perform_job: 3]
        pool = start_pool!()
        args = %{pool: pool, op: "digest", args: %{algorithm: "crc32", data: "abc"}}
        assert {:ok, "352441c2"} = perform_job(NativeJob, args, repo: Repo)

        assert {:cancel, %Failure{kind: :unknown_op}} =
                 perform_job(NativeJob, %{args | op: "dogest"}, repo: Repo)

        assert Logger.metadata()[:oban_job_id] == nil
      end
    end

    describe "stall_timeout" do
      test "a job that reports nothing is stopped, timed_out, and the clock is named" do
        pool = start_fault_pool!(threads: 2)
        args = %{pool: pool, op: "fault.hang", args: %{mode: "blocked"}}
        job = insert!(start_oban!(), Stalling, args)
        assert %{errors: [%{"error" => error}]} = await_state(job, "retryable")
        assert error =~ "timed_out: no progress for 200 ms (stall_timeout), it had reported none"
        assert error =~ "would not stop within kill_after"
      end

      test "a job that reports progress is not" do
        job =
          insert!(start_oban!(), Stalling, %{pool: start_pool!(), op: "sleep", args: %{ms: 1_000}})

        assert %{attempt: 1, errors: []} = await_state(job, "completed")
      end

      test "a job that waits for a thread is not, either" do
        pool = start_pool!(threads: 1)
        [first] = occupy!(pool, 1)
        oban = start_oban!()
        job = insert!(oban, Stalling, %{pool: pool, op: "sleep", args: %{ms: 10}})
        eventually(fn -> match?(%{workers: [%{in_flight: 2}]}, Stevedore.info(pool)) end)
        # Several times stall_timeout.
        assert Stevedore.yield(first, 700) == nil
        cancel_all([first])
        assert %{attempt: 1, errors: []} = await_state(job, "completed")
      end
    end

    describe "outcomes of one module's own" do
      test "an entry of the table" do
        job = insert!(start_oban!(), Overriding, %{pool: start_fault_pool!()})
        assert %{errors: [%{"error" => error}]} = await_state(job, "cancelled")
        assert error =~ "crashed: SIGSEGV"
      end

      test "a single error" do
        args = %{pool: start_pool!(), op: "digest"}
        job = insert!(start_oban!(), Overriding, args)
        assert %{errors: [%{"error" => error}]} = await_state(job, "cancelled")
        assert error =~ ~s({:cancel, "mine"})
      end

      test "no snooze is endless: the next one counts" do
        oban = start_oban!()

        args = %{
          pool: start_pool!(),
          op: "digest",
          args: %{algorithm: "sha256", path: "/nowhere"}
        }

        job = insert!(oban, Overriding, args)
        assert %{attempt: 0, errors: []} = await_state(job, "scheduled")
        Oban.retry_job(oban, job.id)
        assert %{attempt: 1, errors: [%{"error" => error}]} = await_state(job, "retryable")
        assert error =~ "snoozed 1 times already, so it counts as an attempt"
      end
    end

    describe "both sides' names" do
      test "are in the events and in the row" do
        pool = start_fault_pool!()
        oban = start_oban!()
        forward_oban_events(oban, [[:stevedore, :oban, :start], [:stevedore, :oban, :stop]])
        forward_events(pool, [[:job, :start]])
        job = insert!(oban, NativeJob, %{pool: pool, op: "fault.crash", args: %{}})
        assert_receive {:event, [:job, :start], _measurements, %{job: ref}}

        assert_receive {:event, [:stevedore, :oban, :start], %{system_time: _}, metadata}
        assert %{job: ^ref, pool: ^pool, op: "fault.crash", native_id: native_id} = metadata
        assert metadata.oban_job_id == job.id
        assert %{oban_attempt: 1, oban_worker: "Stevedore.Test.NativeJob"} = metadata

        assert_receive {:event, [:stevedore, :oban, :stop], %{duration: _}, stop}
        assert %{job: ^ref, result: :error, error: %{kind: :crashed}} = stop

        assert %{errors: [%{"error" => error}]} = await_state(job, "retryable")
        assert error =~ "native job #{native_id}"
      end
    end

    describe "check!" do
      defmodule Fits do
        use Stevedore.Oban, pool: Stevedore.Test.CheckedPool, op: "echo", queue: :checked
      end

      test "compares what runs" do
        start_pool!(name: Stevedore.Test.CheckedPool, workers: 1, threads: 2, drain_timeout: 100)
        oban = start_oban!(queues: [checked: 2])
        assert Stevedore.Oban.check!([Fits], oban) == :ok
        :ok = Oban.scale_queue(oban, queue: :checked, limit: 3)
        eventually(fn -> Oban.check_queue(oban, queue: :checked).limit == 3 end)

        assert_raise ArgumentError,
                     ~r/queue checked \(3\) may run 3 jobs at once, .* has 2 threads/,
                     fn ->
                       Stevedore.Oban.check!([Fits], oban)
                     end

        :ok = stop_supervised(Stevedore.Test.CheckedPool)

        log =
          capture_log(fn ->
            assert start_supervised({Stevedore.Oban, workers: [Fits], name: oban}) ==
                     {:ok, :undefined}
          end)

        assert log =~ "put it before Oban in the list of children"
        start_pool!(name: Stevedore.Test.CheckedPool, threads: 4, drain_timeout: 1_000)

        assert_raise ArgumentError,
                     ~r/drain_timeout of 1000 ms, Oban a shutdown_grace_period of 1000/,
                     fn ->
                       Stevedore.Oban.check!([Fits], oban)
                     end
      end
    end

    describe "what is stored" do
      test "can be stored, whatever the native side says" do
        hostile = "a\0b\xFF\e[31m" <> String.duplicate("ü", 10_000)
        details = %{"backtrace" => List.duplicate(hostile, 100) ++ [:none], "clock" => hostile}
        error = %Stevedore.Error{kind: :failed, op: "x", message: hostile, details: details}
        text = inspect({:error, Failure.new(error)})
        assert String.valid?(text)
        refute text =~ ~r/[\0\e]/
        assert String.length(text) < 2_000
        assert %{rows: [[_json]]} = Repo.query!("select $1::jsonb", [%{error: text}])
      end
    end

    describe "Outcome" do
      test "delays double up to the most, and no snooze is beyond its times" do
        action = {:snooze, first: 2, most: 60, times: 8}
        error = %Stevedore.Error{kind: :overloaded}
        delays = for n <- 0..7, do: Outcome.decide(action, error, n, 1.0)
        assert delays == for(s <- [2, 4, 8, 16, 32, 60, 60, 60], do: {:snooze, s})
        assert {:error, "snoozed 8 times" <> _} = Outcome.decide(action, error, 8, 1.0)
        assert Outcome.decide(action, error, 0, 0.0) == {:snooze, 1}
        assert Outcome.decide(:cancel, error, 99, 0.5) == :cancel
      end

      test "an error that says when to come back is believed" do
        error = %Stevedore.Error{kind: :unavailable, details: %{"retry_after_ms" => 90_001}}
        action = Outcome.action(error, Outcome.new!([]))
        assert Outcome.decide(action, error, 0, 0.5) == {:snooze, 91}
      end
    end
  end
end
