defmodule Stevedore.Worker.Settlement do
  @moduledoc false
  # What becomes of the jobs of a worker that has died. Pure.
  #
  #     unstarted   not one instruction of its op has run: it goes to another worker, nobody notices
  #     culprit     the worker died of it: crashed
  #     victim      had started and was merely there: lost, or run again if that does no harm
  #     suspect     one of several that ran when the worker died and nothing says which one it was
  #
  # Evidence is the black box: which jobs had started, and, if the process could still write it, whose
  # crash it was. Without a black box every job counts as started.

  alias Stevedore.{BlackBox, Error, Ticket}
  alias Stevedore.Worker.Launch

  # What the system says of a process that died of SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV or SIGSYS.
  @faults for signal <- [4, 5, 6, 7, 8, 11, 31], do: 128 + signal

  @type cause ::
          {:port_exited, non_neg_integer}
          | {:port_closed, term}
          | {:malformed, binary}
          | {:planned, atom}
          | term

  @type t :: %{
          unstarted: [Ticket.t()],
          culprits: [{Ticket.t(), Error.t()}],
          victims: [{Ticket.t(), Error.t()}],
          suspects: [{Ticket.t(), Error.t()}]
        }

  @doc "Those that have not started, and those that have."
  @spec split([Ticket.t()], BlackBox.t() | nil) :: {[Ticket.t()], [Ticket.t()]}
  def split(tickets, box), do: Enum.split_with(tickets, &unstarted?(box, &1.id))

  @doc """
  The jobs sorted into those four. `facts`: `box`, `cause`, `alone` (the worker was there for one job), and `oom`
  (the kernel has killed for want of memory meanwhile).
  """
  @spec sort([Ticket.t()], map) :: t
  def sort(tickets, facts) do
    {unstarted, started} = split(tickets, facts.box)
    running = Enum.filter(started, &(state(facts.box, &1.id) == :running))
    guilty = guilty(facts, running)
    verdict = verdict(guilty, running)

    started
    |> Enum.group_by(verdict, &{&1, error(verdict.(&1), &1, facts, running, guilty)})
    |> Enum.into(%{unstarted: unstarted, culprits: [], victims: [], suspects: []})
  end

  # A job may kill its worker before its op is called: while its arguments are decoded.
  defp unstarted?(%{crash: %{id: id}}, id), do: false
  defp unstarted?(box, id), do: state(box, id) == :waiting

  defp state(nil, _id), do: :running

  defp state(box, id) do
    case box.slots do
      %{^id => state} when state in [:running, :finished] -> state
      # Its reply was written, but has not come whole.
      %{^id => :flushed} -> :finished
      _other -> :waiting
    end
  end

  # Whom the evidence names: an id, :nobody, or :unknown.
  defp guilty(%{box: %{crash: %{id: id}}}, _running) when id != nil, do: id
  # A signal from outside is no job's doing.
  defp guilty(%{box: %{crash: %{sender: sender}, os_pid: os_pid}}, _running)
       when sender not in [nil, os_pid],
       do: :nobody

  # It happened in a thread that some op had made.
  defp guilty(%{box: %{crash: %{}}}, [only]), do: only.id
  defp guilty(%{cause: {:planned, _why}}, _running), do: :nobody
  defp guilty(%{box: nil}, _running), do: :nobody
  defp guilty(%{alone: true}, [only]), do: only.id

  # It had ruined so much that not even the record could be written. (Sent from outside, such a signal is recorded.)
  defp guilty(%{cause: {:port_exited, status}}, [only]) when status in @faults, do: only.id
  # Nobody else's code could have ended the process with an exit code of its own.
  defp guilty(%{cause: {:port_exited, code}}, [only]) when code < 128, do: only.id
  defp guilty(_facts, _running), do: :unknown

  defp verdict(:unknown, [_, _ | _] = running) do
    ids = MapSet.new(running, & &1.id)
    &if(&1.id in ids, do: :suspects, else: :victims)
  end

  defp verdict(guilty, _running), do: &if(&1.id == guilty, do: :culprits, else: :victims)

  defp error(:culprits, _ticket, %{box: %{crash: %{} = crash}} = facts, _running, _guilty) do
    %Error{kind: :crashed, message: BlackBox.describe(crash), details: details(facts, crash)}
  end

  defp error(:culprits, _ticket, facts, _running, _guilty) do
    message = "it ran alone when its worker ended: #{describe(facts)}"
    %Error{kind: :crashed, message: message, details: details(facts, nil)}
  end

  defp error(_verdict, ticket, facts, running, guilty) do
    state = state(facts.box, ticket.id)

    message =
      "it #{doing(facts.box, state)} when its worker ended: #{describe(facts)}#{blame(facts)}"

    %Error{
      kind: :lost,
      message: message,
      details:
        Map.merge(
          %{"state" => Atom.to_string(state), "reason" => describe(facts)},
          Map.merge(others(guilty, running), reruns(ticket))
        )
    }
  end

  defp doing(nil, _state), do: "was in flight"
  defp doing(_box, :running), do: "was running"
  defp doing(_box, :finished), do: "had finished and its result was on the way"

  defp others(:unknown, running), do: %{"suspects" => length(running)}
  defp others(_guilty, _running), do: %{}

  defp reruns(%Ticket{reruns: 0}), do: %{}
  defp reruns(%Ticket{reruns: count}), do: %{"reruns" => count}

  defp blame(%{box: %{crash: %{op: op, id: id}}}) when is_integer(id),
    do: "; the culprit is a job of #{op}"

  defp blame(_facts), do: ""

  defp details(facts, nil), do: %{"reason" => describe(facts)}

  defp details(facts, crash) do
    %{
      "reason" => describe(facts),
      "signal" => crash.signal,
      "address" => BlackBox.address_text(crash),
      "backtrace" => Enum.map(crash.frames, &BlackBox.frame_text/1),
      "ran_us" => crash.ran_us
    }
  end

  @doc "What ended a worker, in words."
  @spec describe(%{:cause => cause, optional(:oom) => boolean, optional(any) => any}) ::
          String.t()
  def describe(%{oom: true}),
    do: "killed by the kernel, for the machine or its group ran out of memory"

  def describe(%{cause: {:port_exited, status}}), do: Launch.exit_status(status)

  def describe(%{cause: {:port_closed, reason}}) do
    "its process ended (#{inspect(reason)} on its port)"
  end

  def describe(%{cause: {:malformed, bytes}}) do
    "it was killed, for it sent something that is no message (malformed: #{inspect(bytes)})"
  end

  def describe(%{cause: {:planned, :stuck_job}}),
    do: "it was killed because of a job that would not stop"

  def describe(%{cause: {:planned, :kill_rss}}),
    do: "it was killed, for it used more than :kill_rss allows"

  def describe(%{cause: {:planned, :drain_timeout}}),
    do: "it had to go and the job would not stop"

  def describe(%{cause: {:planned, :unresponsive}}),
    do: "it was killed, for it kept no limits and did not answer"

  def describe(%{cause: {:planned, :worker_process}}),
    do: "its process in the VM was killed, and it with it"

  def describe(%{cause: {:planned, reason}}), do: "it was killed: #{inspect(reason)}"
  def describe(%{cause: cause}), do: inspect(cause)

  @doc "A cause as one of a few words, for counters."
  @spec cause(map) :: atom
  def cause(%{box: %{crash: %{signal: nil}}}), do: :exit
  def cause(%{box: %{crash: %{}}}), do: :crash
  def cause(%{oom: true}), do: :oom
  def cause(%{cause: {:planned, why}}) when is_atom(why), do: why
  def cause(%{cause: {:planned, _bug}}), do: :worker_process
  def cause(%{cause: {:port_exited, status}}) when status == 128 + 9, do: :kill
  def cause(%{cause: {:port_exited, status}}) when status > 128, do: :signal
  def cause(%{cause: {:port_exited, _status}}), do: :exit
  def cause(%{cause: {:port_closed, _reason}}), do: :port_closed
  def cause(_facts), do: :protocol
end
