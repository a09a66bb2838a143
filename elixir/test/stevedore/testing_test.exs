defmodule Stevedore.TestingTest do
  use ExUnit.Case, async: true

  import Stevedore.Testing

  alias Stevedore.{Error, Job}

  describe "a real pool" do
    test "is small, has a name of its own, and ends with the test" do
      pool = start_pool!()
      assert %{workers: [%{threads: 2}]} = Stevedore.info(pool)

      assert Stevedore.call(pool, "digest", %{algorithm: "crc32", data: "abc"}) ==
               {:ok, "352441c2"}

      assert start_pool!() != pool
    end

    test "takes all options" do
      name = unique_name()
      assert start_pool!(name: name, threads: 1) == name
      assert %{workers: [%{threads: 1}]} = Stevedore.info(name)
      assert_raise RuntimeError, ~r/:nope/, fn -> start_pool!(nope: 1) end
    end

    test "can be crashed" do
      pool = start_pool!(plugins: [fault_plugin()])
      assert %Error{kind: :crashed, details: %{"signal" => "SIGSEGV"}} = crash!(pool)
      assert %Error{kind: :crashed, details: %{"signal" => "SIGFPE"}} = crash!(pool, "FPE")
      assert Stevedore.call(pool, "ping", nil) == {:ok, "pong"}
      assert_raise ArgumentError, ~r/fault plugin/, fn -> crash!(start_pool!()) end
    end
  end

  describe "a stubbed pool" do
    test "runs functions as ops, by the same calls" do
      pool = stub(unique_name(), %{"double" => fn %{n: n} -> {:ok, 2 * n} end})
      assert Stevedore.call(pool, "double", %{n: 2}) == {:ok, 4}
      assert Stevedore.call!(pool, :double, %{n: 3}) == 6
      assert pool |> Stevedore.async("double", %{n: 4}) |> Stevedore.await() == {:ok, 8}
      stream = Stevedore.async_stream(pool, 1..50, "double", &%{n: &1}, ordered: false)
      assert Enum.sort(stream) == for(n <- 1..50, do: {:ok, 2 * n})
      assert {:ok, [%{"name" => "double"}]} = Stevedore.ops(pool)
      assert %{workers: [%{in_flight: 0}]} = Stevedore.info(pool)
    end

    test "may get more ops, or other functions, later" do
      pool = stub(unique_name(), %{"a" => fn _ -> {:ok, 1} end, "b" => fn _ -> {:ok, 2} end})
      assert stub(pool, %{b: fn _ -> {:ok, 3} end}) == pool

      assert {Stevedore.call(pool, "a", nil), Stevedore.call(pool, "b", nil)} ==
               {{:ok, 1}, {:ok, 3}}
    end

    test "large arguments and results" do
      pool = stub(unique_name(), %{"echo" => &{:ok, &1}})
      large = :binary.copy("0123456789", 100_000)
      assert Stevedore.call(pool, "echo", %{data: large}) == {:ok, %{"data" => large}}
      assert Stevedore.call(pool, "echo", large) == {:ok, large}
    end

    test "results are as a worker's" do
      result = %{size: 1, kind: :png, nested: [{:deep, true, nil, 1.5}]}
      pool = stub(unique_name(), %{"info" => fn _ -> {:ok, result} end})

      assert Stevedore.call(pool, "info", nil) ==
               {:ok, %{"size" => 1, "kind" => "png", "nested" => [{"deep", true, nil, 1.5}]}}

      stub(pool, %{"pid" => fn _ -> {:ok, self()} end})
      assert {:error, %Error{kind: :crashed, message: message}} = Stevedore.call(pool, "pid", nil)
      assert message =~ "a pid"
    end

    test "arguments that no worker would take are refused, and ops that are not there" do
      pool = stub(unique_name(), %{"echo" => &{:ok, &1}})
      assert {:error, %Error{kind: :bad_request}} = Stevedore.call(pool, "echo", [%{a: {self()}}])
      assert {:error, %Error{kind: :unknown_op, op: "nope"}} = Stevedore.call(pool, "nope", nil)

      assert_raise ArgumentError, ~r/:timeout/, fn ->
        Stevedore.call(pool, "echo", 1, timeout: -1)
      end
    end

    test "gives each kind of error, as the pool's" do
      for kind <- Error.kinds() do
        pool = stub(unique_name(), %{"op" => fn _ -> error(kind) end})

        assert {:error, %Error{kind: ^kind, op: "op", pool: ^pool} = error} =
                 Stevedore.call(pool, "op", nil)

        assert Exception.message(error) =~ "#{kind}: "
        assert_raise Error, fn -> Stevedore.call!(pool, "op", nil) end
      end
    end

    test "a function that raises, exits or returns something else crashes its job only" do
      pool =
        stub(unique_name(), %{
          "raise" => fn _ -> raise "on purpose" end,
          "exit" => fn _ -> exit(:on_purpose) end,
          "kill" => fn _ -> Process.exit(self(), :kill) && Process.sleep(:infinity) end,
          "other" => fn _ -> :on_purpose end
        })

      for op <- ["raise", "exit", "other"] do
        assert {:error, %Error{kind: :crashed, message: message}} = Stevedore.call(pool, op, nil)
        assert message =~ "purpose"
      end

      assert {:error, %Error{kind: :crashed}} = Stevedore.call(pool, "kill", nil)
    end

    test "jobs are cancelled, and end with their caller" do
      test = self()

      pool =
        stub(unique_name(), %{
          "wait" => fn _ -> send(test, {:waits, self()}) && Process.sleep(:infinity) end
        })

      job = Stevedore.async(pool, "wait", 1)
      assert_receive {:waits, pid}
      monitor = Process.monitor(pid)
      :ok = Stevedore.cancel(job)
      assert {:error, %Error{kind: :cancelled}} = Stevedore.await(job)
      assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}

      caller = spawn(fn -> Stevedore.call(pool, "wait", 1) end)
      assert_receive {:waits, pid}
      monitor = Process.monitor(pid)
      Process.exit(caller, :kill)
      assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}
      assert %{workers: [%{in_flight: 0}]} = Stevedore.info(pool)
    end

    test "progress" do
      pool =
        stub(unique_name(), %{
          "steps" => fn n ->
            for step <- 1..n, do: progress(step, n)
            {:ok, n}
          end
        })

      %Job{ref: ref} = job = Stevedore.async(pool, "steps", 2, on_progress: self())
      assert Stevedore.await(job) == {:ok, 2}
      assert_received {:stevedore_progress, ^ref, 1, 2}
      assert_received {:stevedore_progress, ^ref, 2, 2}

      test = self()
      report = &send(test, {:progress, &1, &2})
      assert Stevedore.call(pool, "steps", 3, on_progress: report) == {:ok, 3}
      for step <- 1..3, do: assert_received({:progress, ^step, 3})
      assert_raise RuntimeError, fn -> progress(1, 2) end
    end
  end

  describe "an error" do
    test "has what its kind has, and what is given" do
      assert {:error, %Error{details: %{"signal" => "SIGSEGV", "backtrace" => [_ | _]}}} =
               error(:crashed)

      assert {:error, %Error{message: "gone", op: "x", details: %{"code" => "enoent"}}} =
               error(:failed, message: "gone", op: "x", details: %{"code" => "enoent"})

      assert_raise ArgumentError, ~r/no error kind :nope/, fn -> error(:nope) end
      assert_raise KeyError, fn -> error(:lost, nope: 1) end
    end
  end

  test "Stevedore has all functions of the behaviour" do
    Code.ensure_loaded!(Stevedore)

    for {name, arity} <- Stevedore.Behaviour.behaviour_info(:callbacks) do
      assert function_exported?(Stevedore, name, arity), "#{name}/#{arity}"
    end
  end
end
