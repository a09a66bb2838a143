defmodule Stevedore.Worker.SettlementTest do
  use ExUnit.Case, async: true

  alias Stevedore.{BlackBox, Error, Ticket}
  alias Stevedore.Worker.Settlement

  defp ticket(id) do
    %Ticket{
      id: id,
      ref: make_ref(),
      owner: self(),
      pool: P,
      op: "op#{id}",
      body: "",
      options: "",
      started_at: 0,
      start_by: :infinity,
      deadline: :infinity
    }
  end

  defp facts(facts \\ []) do
    Map.merge(%{box: nil, cause: {:port_exited, 137}, alone: false, oom: false}, Map.new(facts))
  end

  defp box(slots, crash \\ nil), do: %BlackBox{os_pid: 1, slots: Map.new(slots), crash: crash}

  defp crash(id, crash \\ []) do
    frame = %{function: "crash_by_abort", module: "fault.so", offset: 0x12, pc: 1}

    Map.merge(
      %{
        signal: "SIGSEGV",
        code: 1,
        sender: nil,
        address: 0xAB,
        thread: 1,
        id: id,
        op: id && "op#{id}",
        ran_us: 7,
        complete: true,
        frames: [frame]
      },
      Map.new(crash)
    )
  end

  # What becomes of each of these jobs, as {id, role, kind, state}.
  defp sort(ids, facts) do
    sorted = ids |> Enum.map(&ticket/1) |> Settlement.sort(facts)
    assert Enum.sort(Map.keys(sorted)) == [:culprits, :suspects, :unstarted, :victims]
    unstarted = for ticket <- sorted.unstarted, do: {ticket.id, :unstarted, nil, nil}

    others =
      for role <- [:culprits, :suspects, :victims],
          {%Ticket{id: id}, %Error{} = error} <- sorted[role],
          do: {id, role, error.kind, error.details["state"]}

    Enum.sort(unstarted ++ others)
  end

  defp error(id, ids, facts) do
    sorted = ids |> Enum.map(&ticket/1) |> Settlement.sort(facts)

    Enum.find_value(sorted.culprits ++ sorted.victims ++ sorted.suspects, fn
      {%Ticket{id: ^id}, error} -> error
      _other -> nil
    end)
  end

  describe "without a black box" do
    test "every job counts as started, and nobody is suspected" do
      for cause <- [
            {:port_exited, 137},
            {:port_exited, 70},
            {:port_closed, :epipe},
            {:malformed, "x"},
            {:planned, :stuck_job}
          ],
          alone <- [true, false] do
        assert sort([1, 2], facts(cause: cause, alone: alone)) ==
                 [{1, :victims, :lost, "running"}, {2, :victims, :lost, "running"}]

        assert sort([1], facts(cause: cause, alone: alone)) == [{1, :victims, :lost, "running"}]
      end
    end

    test "nothing is claimed that is not known" do
      error = error(1, [1], facts(cause: {:port_exited, 139}))
      assert error.message == "it was in flight when its worker ended: killed by SIGSEGV"
    end
  end

  describe "what had not started is handed on" do
    test "whatever ended the worker" do
      for cause <- [{:port_exited, 137}, {:port_exited, 3}, {:planned, :kill_rss}],
          box <- [box([]), box([{1, :waiting}]), box([{1, :waiting}], crash(nil))],
          alone <- [true, false] do
        facts = facts(cause: cause, box: box, alone: alone)
        assert sort([1], facts) == [{1, :unstarted, nil, nil}]
      end
    end

    # PROTOCOL §12: it may have died while its arguments were decoded.
    test "but for the one that the crash names, whatever its slot says" do
      for slots <- [[], [{1, :waiting}], [{1, :running}], [{1, :finished}], [{1, :flushed}]] do
        facts = facts(cause: {:port_exited, 139}, box: box(slots, crash(1)))
        assert [{1, :culprits, :crashed, nil}] = sort([1], facts)
      end
    end
  end

  describe "a crash with its job" do
    test "is that job's, and the others are victims" do
      slots = [{1, :running}, {2, :running}, {3, :finished}, {4, :flushed}, {5, :waiting}]
      facts = facts(cause: {:port_exited, 139}, box: box(slots, crash(2)))

      assert sort([1, 2, 3, 4, 5, 6], facts) == [
               {1, :victims, :lost, "running"},
               {2, :culprits, :crashed, nil},
               {3, :victims, :lost, "finished"},
               {4, :victims, :lost, "finished"},
               {5, :unstarted, nil, nil},
               {6, :unstarted, nil, nil}
             ]
    end

    test "is told with all that is known" do
      facts =
        facts(cause: {:port_exited, 139}, box: box([{1, :running}, {2, :running}], crash(1)))

      assert %Error{kind: :crashed, message: message, details: details} = error(1, [1, 2], facts)
      assert message =~ "SIGSEGV" and message =~ "crash_by_abort"

      assert details == %{
               "reason" => "killed by SIGSEGV",
               "signal" => "SIGSEGV",
               "address" => "0xab",
               "backtrace" => ["crash_by_abort+0x12 (fault.so)"],
               "ran_us" => 7
             }

      assert error(2, [1, 2], facts).message =~ "the culprit is a job of op1"
    end

    test "counts even if the worker was killed for another reason, or its job has gone" do
      for cause <- [{:planned, :kill_rss}, {:malformed, "x"}, {:port_closed, :epipe}] do
        facts = facts(cause: cause, box: box([{1, :running}, {2, :running}], crash(1)))

        assert [{1, :culprits, :crashed, _}, {2, :victims, :lost, _}] = sort([1, 2], facts)
        # Its reply had come already.
        assert [{2, :victims, :lost, "running"}] = sort([2], facts)
      end
    end

    test "exit was called: no signal" do
      crash = crash(1, signal: nil, address: 0)
      facts = facts(cause: {:port_exited, 76}, box: box([{1, :running}, {2, :running}], crash))
      assert [{1, :culprits, :crashed, _}, {2, :victims, :lost, _}] = sort([1, 2], facts)
      assert error(1, [1], facts).details["signal"] == nil
      assert Settlement.cause(facts) == :exit
    end
  end

  describe "a crash that names no job" do
    defp nameless(slots, options \\ []) do
      facts(cause: {:port_exited, 139}, box: box(slots, crash(nil, options)))
    end

    test "by a signal from another process is nobody's: all that ran are victims" do
      for alone <- [true, false] do
        facts = %{nameless([{1, :running}, {2, :running}], sender: 99) | alone: alone}

        assert sort([1, 2], facts) ==
                 [{1, :victims, :lost, "running"}, {2, :victims, :lost, "running"}]

        assert sort([1], facts) == [{1, :victims, :lost, "running"}]
      end
    end

    test "was in a thread that an op had made: of the only one that ran" do
      assert sort([1, 2, 3], nameless([{1, :running}, {2, :finished}, {3, :waiting}])) == [
               {1, :culprits, :crashed, nil},
               {2, :victims, :lost, "finished"},
               {3, :unstarted, nil, nil}
             ]

      # It may have sent the signal to itself.
      assert [{1, :culprits, :crashed, nil}] = sort([1], nameless([{1, :running}], sender: 1))
    end

    test "or of one of several" do
      assert sort([1, 2], nameless([{1, :running}, {2, :running}])) ==
               [{1, :suspects, :lost, "running"}, {2, :suspects, :lost, "running"}]
    end
  end

  describe "an exit code" do
    test "is the doing of the only job that ran" do
      slots = [{1, :running}, {2, :finished}, {3, :waiting}]

      assert sort([1, 2, 3], facts(cause: {:port_exited, 3}, box: box(slots))) == [
               {1, :culprits, :crashed, nil},
               {2, :victims, :lost, "finished"},
               {3, :unstarted, nil, nil}
             ]

      error = error(1, [1, 2, 3], facts(cause: {:port_exited, 3}, box: box(slots)))
      assert error.message == "it ran alone when its worker ended: exit code 3"
      assert error.details == %{"reason" => "exit code 3"}
    end

    test "makes suspects of several" do
      facts = facts(cause: {:port_exited, 3}, box: box([{1, :running}, {2, :running}]))

      assert sort([1, 2], facts) ==
               [{1, :suspects, :lost, "running"}, {2, :suspects, :lost, "running"}]

      assert error(1, [1, 2], facts).details["suspects"] == 2
    end

    test "is nobody's if nothing ran" do
      facts = facts(cause: {:port_exited, 3}, box: box([{1, :finished}]))
      assert sort([1], facts) == [{1, :victims, :lost, "finished"}]
    end
  end

  describe "a fault without a record" do
    test "is the doing of the only job that ran" do
      facts = facts(cause: {:port_exited, 139}, box: box([{1, :running}, {2, :waiting}]))
      assert sort([1, 2], facts) == [{1, :culprits, :crashed, nil}, {2, :unstarted, nil, nil}]
      assert error(1, [1, 2], facts).message =~ "SIGSEGV"
    end

    test "makes suspects of several" do
      facts = facts(cause: {:port_exited, 134}, box: box([{1, :running}, {2, :running}]))
      assert Enum.map(sort([1, 2], facts), &elem(&1, 1)) == [:suspects, :suspects]
    end
  end

  describe "SIGKILL" do
    test "may have come from anywhere: the only one that ran is a victim" do
      facts = facts(cause: {:port_exited, 137}, box: box([{1, :running}, {2, :waiting}]))
      assert sort([1, 2], facts) == [{1, :victims, :lost, "running"}, {2, :unstarted, nil, nil}]
    end

    test "makes suspects of several, but not of what had finished" do
      slots = [{1, :running}, {2, :running}, {3, :finished}]

      assert sort([1, 2, 3], facts(cause: {:port_exited, 137}, box: box(slots))) == [
               {1, :suspects, :lost, "running"},
               {2, :suspects, :lost, "running"},
               {3, :victims, :lost, "finished"}
             ]
    end

    test "convicts who was alone" do
      for cause <- [{:port_exited, 137}, {:port_closed, :epipe}, {:port_exited, 143}] do
        facts = facts(cause: cause, box: box([{1, :running}]), alone: true)
        assert sort([1], facts) == [{1, :culprits, :crashed, nil}]
      end
    end

    test "not if it had finished" do
      facts = facts(cause: {:port_exited, 137}, box: box([{1, :finished}]), alone: true)
      assert sort([1], facts) == [{1, :victims, :lost, "finished"}]
    end
  end

  test "a planned end makes no culprits and no suspects, alone or not" do
    for alone <- [true, false], why <- [:stuck_job, :kill_rss, :drain_timeout, :unresponsive] do
      facts =
        facts(cause: {:planned, why}, box: box([{1, :running}, {2, :running}]), alone: alone)

      assert sort([1, 2], facts) ==
               [{1, :victims, :lost, "running"}, {2, :victims, :lost, "running"}]

      assert sort([1], facts) == [{1, :victims, :lost, "running"}]
    end
  end

  test "every job is in exactly one of the four, whatever the evidence" do
    :rand.seed(:exsss, {1, 2, 3})

    for _ <- 1..2_000 do
      ids = Enum.take_random(1..6, :rand.uniform(6))
      states = [:waiting, :running, :finished, :flushed]
      slots = for id <- Enum.take_random(1..6, 4), do: {id, Enum.random(states)}
      crash = Enum.random([nil, crash(nil), crash(Enum.random(1..6)), crash(1, signal: nil)])

      cause =
        Enum.random([
          {:port_exited, Enum.random([0, 3, 70, 137, 139])},
          {:port_closed, :normal},
          {:malformed, "x"},
          {:planned, :stuck_job},
          {:bye, :eof}
        ])

      facts =
        facts(
          box: Enum.random([nil, box(slots, crash)]),
          cause: cause,
          alone: Enum.random([true, false])
        )

      sorted = sort(ids, facts)
      assert Enum.map(sorted, &elem(&1, 0)) == Enum.sort(ids)
      assert Enum.count(sorted, &match?({_, :culprits, _, _}, &1)) <= 1
      assert is_atom(Settlement.cause(facts))
      assert is_binary(Settlement.describe(facts))
    end
  end

  test "causes as words" do
    for {word, facts} <- [
          {:crash, facts(box: box([], crash(1)))},
          {:exit, facts(box: box([], crash(1, signal: nil)))},
          {:exit, facts(cause: {:port_exited, 3})},
          {:oom, facts(oom: true)},
          {:kill, facts()},
          {:signal, facts(cause: {:port_exited, 143})},
          {:kill_rss, facts(cause: {:planned, :kill_rss})},
          {:port_closed, facts(cause: {:port_closed, :epipe})},
          {:protocol, facts(cause: {:malformed, "x"})},
          {:protocol, facts(cause: {:unknown_id, 3})}
        ] do
      assert Settlement.cause(facts) == word
    end
  end
end
