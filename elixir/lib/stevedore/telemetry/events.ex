defmodule Stevedore.Telemetry.Events do
  @moduledoc false
  # The one list of all events: {name after :stevedore, measurements, metadata}. The table in the docs and
  # `Stevedore.Telemetry.events/0` are made from it, and tests hold what is emitted against it. Pure.
  #
  # In it, `time` stands for `system_time` and `monotonic_time`, `job` and `worker` for the metadata that all events
  # of those have.

  @type name :: [atom, ...]

  @job [:pool, :node, :op, :job, :worker, :context]
  @worker [:pool, :worker, :os_pid]
  @time [:system_time, :monotonic_time]
  @measured [:duration, :monotonic_time, :queue_time, :run_time, :cpu_time]

  @table [
    {[:job, :start], @time, @job, "a caller has started it"},
    {[:job, :stop], @measured, @job, "it came to a value"},
    {[:job, :exception], @measured, @job ++ [:kind, :reason, :stacktrace],
     "it did not: `kind` is `:error`, `reason` a `Stevedore.Error`, `stacktrace` empty; the last three times are " <>
       "there only if a worker measured them"},
    {[:job, :cancel], @time, @job ++ [:why],
     "its end was asked for: by `Stevedore.cancel/1` (`:cancel`), or because nobody waits any more (`:abandon`: a stream " <>
       "that was ended early, a caller that gave up); the end itself comes by itself, in the first case"},
    {[:job, :moved], @time, @job ++ [:why],
     "it goes to another worker: `:held` (had waited for one to be ready), `:balance`, `:worker_died`, `:worker_killed`, " <>
       "`:wounded`, `:draining`, `:run_again`, `:isolated`"},
    {[:job, :settled], @time, @job ++ [:role, :reason],
     "it had started when its worker died, and is not run again: `role` is `:culprit`, `:victim` or `:suspect`, " <>
       "`reason` a `Stevedore.Error`"},
    {[:worker, :start], @time, @worker, "its process has been started"},
    {[:worker, :ready], [:duration, :monotonic_time], @worker ++ [:hello],
     "it has answered `hello` (PROTOCOL §6); `duration` of the boot"},
    {[:worker, :draining], @time ++ [:in_flight], @worker,
     "it takes no more jobs and ends when it has none"},
    {[:worker, :wounded], @time ++ [:in_flight], @worker,
     "it takes no more jobs, for one of them will not stop"},
    {[:worker, :stop], [:duration, :monotonic_time, :in_flight],
     @worker ++ [:cause, :reason, :crash],
     "it has ended: `duration` of its life, `in_flight` jobs that it took with it (not there if the process in the VM was " <>
       "killed), `cause` as in `Stevedore.stats/1`, or `:drained`, `reason` the true one, such as `{:port_exited, 139}`, " <>
       "`crash` what the black box says of it, or `nil`"},
    {[:pool, :start], @time ++ [:workers], [:pool], "all of its workers are ready"},
    {[:pool, :restart], @time ++ [:delay_ms], [:pool, :cause],
     "a worker has died, or could not even be started (`:boot`); the next one is started after `delay_ms`"},
    {[:pool, :replace], @time, [:pool, :worker, :why],
     "a worker is to be replaced as planned: `:restart`, `:max_jobs`, `:max_age`, `:max_idle`, `:max_rss`"},
    {[:pool, :replace_failed], @time, [:pool, :worker, :why, :reason],
     "its replacement did not get ready, `reason` says why in words; the old one stays"},
    {[:pool, :resize], @time ++ [:workers], [:pool], "it is to have so many workers"},
    {[:pool, :drain], @time ++ [:timeout_ms], [:pool], "`Stevedore.drain/2` has begun"},
    {[:pool, :drained], @time, [:pool], "it has no workers any more"},
    {[:pool, :circuit], @time, [:pool, :from, :to],
     "its circuit is `:open`, `:half_open` or `:closed` now"},
    {[:pool, :quarantine], @time ++ [:for_ms], [:pool, :op, :fingerprint],
     "a job is refused from now on"},
    {[:pool, :release], @time, [:pool, :op, :fingerprint, :why],
     "it is not any more: `:released` by `Stevedore.release/2`, or `:expired`"},
    {[:pool, :stats],
     [
       :size,
       :workers,
       :threads,
       :in_flight,
       :running,
       :queued,
       :waiting,
       :quarantined,
       :circuit_open,
       :max_rss
     ], [:pool],
     "what `measure/0` saw: ready `workers` of `size`, their `threads`, jobs `in_flight`, of which so many are `running` and " <>
       "`queued`, jobs `waiting` for a worker, jobs `quarantined`, `circuit_open` (0 or 1), `max_rss` of all workers in bytes"},
    {[:pool, :stop], @time, [:pool, :reason], "it has stopped"}
  ]

  @doc "All events, with the keys of their measurements and metadata."
  @spec all() :: [{name, measurements :: [atom], metadata :: [atom]}]
  def all do
    for {name, measurements, metadata, _doc} <- @table,
        do: {[:stevedore | name], measurements, metadata}
  end

  @doc "The table as Markdown, one for each of `:job`, `:worker` and `:pool`."
  @spec docs(atom) :: String.t()
  def docs(of) do
    rows = for {[^of | _] = name, _, _, _} = row <- @table, do: row(row, name)

    "| event | when | measurements | metadata |\n|---|---|---|---|\n" <> Enum.join(rows, "\n")
  end

  defp row({_name, measurements, metadata, doc}, name) do
    "| `#{inspect([:stevedore | name])}` | #{doc} | #{keys(measurements)} | #{keys(metadata)} |"
  end

  defp keys(@job), do: "of a job"
  defp keys(@worker), do: "of a worker"
  defp keys(@job ++ more), do: "of a job, " <> keys(more)
  defp keys(@worker ++ more), do: "of a worker, " <> keys(more)
  defp keys(keys), do: Enum.map_join(keys, ", ", &"`#{&1}`")
end
