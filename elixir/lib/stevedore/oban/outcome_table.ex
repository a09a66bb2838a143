if Code.ensure_loaded?(Oban.Worker) do
  defmodule Stevedore.Oban.OutcomeTable do
    @moduledoc false
    # The table of Stevedore.Oban.Outcome: the code's and the docs' only source.

    @snooze {:snooze, first: 5, most: 300, times: 60}

    @rows [
      {:overloaded, {:snooze, first: 2, most: 60, times: 100},
       "The pool's queue is full. It never ran, and later there is room."},
      {:unavailable, @snooze,
       "No worker can take it: the pool drains, is not started, or its circuit is open. It never ran."},
      {:queue_timeout, {:snooze, first: 2, most: 60, times: 100},
       "It waited natively for too long. It never ran."},
      {:lost, {:snooze, first: 1, most: 60, times: 3},
       "Its worker died of something else, or of something that nobody can name. Whether it ran is unknown."},
      {:drained, {:snooze, first: 1, most: 60, times: 20},
       "Its worker had to go and it was not done within `drain_timeout`. It was stopped half-way."},
      {:failed, :error, "The op reported an error."},
      {:crashed, :error,
       "It killed its worker. The third time the pool refuses it as `quarantined`."},
      {:timed_out, :error,
       "It ran longer than `timeout`, or made no progress for `stall_timeout`."},
      {:no_memory, :error, "There was no memory for it. Another time there may be."},
      {:too_large, :cancel,
       "Its arguments or its result are over a limit, and will be the next time. Pass a path, or raise `max_frame`."},
      {:bad_args, :cancel, "The op refused its arguments, and will the next time."},
      {:bad_request, :cancel, "Its arguments are none that can be sent, such as a pid."},
      {:unknown_op, :cancel, "The pool's workers have no op of that name."},
      {:quarantined, :cancel,
       "The same op and arguments have killed workers repeatedly. Never run before `Stevedore.release/2` or the end of the quarantine."},
      {:cancelled, :cancel, "Somebody called `Stevedore.cancel/1`."}
    ]

    @spec rows() :: [{atom, Stevedore.Oban.Outcome.action(), String.t()}]
    def rows, do: @rows

    @doc "What `:snooze` is where the default is something else."
    @spec snooze() :: Stevedore.Oban.Outcome.action()
    def snooze, do: @snooze

    @doc "As a Markdown table."
    @spec docs() :: String.t()
    def docs do
      lines = for {key, action, why} <- @rows, do: "| `#{key}` | #{describe(action)} | #{why} |"
      Enum.join(["| outcome | the Oban job | why |", "|---|---|---|" | lines], "\n")
    end

    defp describe({:snooze, first: first, most: most, times: times}),
      do: "snooze: #{first} s, doubling up to #{most} s, at most #{times} times"

    defp describe(action), do: Atom.to_string(action)
  end
end
