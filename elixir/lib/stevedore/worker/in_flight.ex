defmodule Stevedore.Worker.InFlight do
  @moduledoc false
  # Who waits for which id. Pure. Ids are a counter that wraps within the 31 bits of PROTOCOL §4.1
  # and skips what is still in use: at a few hundred thousand jobs a second it wraps within hours,
  # and a long job may outlast that.
  #
  # One map, because every call passes through here twice. To cancel a job, or to find those of a caller
  # that died, it is looked through: that is rare, and what is in flight is bounded.
  #
  # Callers stay known, and monitored, after their last job until they die: a monitor per job would
  # interrupt each caller twice while it waits, which costs about as much as all the rest of a small
  # call.

  alias Stevedore.Job

  @last_id 2_147_483_647

  defstruct next: 0, jobs: %{}, callers: %{}

  @type id :: 0..2_147_483_647
  @type t :: %__MODULE__{next: id, jobs: %{id => Job.t()}, callers: %{pid => true}}

  @spec new(id) :: t
  def new(first \\ 0), do: %__MODULE__{next: first}

  @doc "The id that the next job gets."
  @spec next_id(t) :: id
  def next_id(%{next: id, jobs: jobs}) when not is_map_key(jobs, id), do: id
  def next_id(in_flight), do: next_id(%{in_flight | next: following(in_flight.next)})

  @doc "Whether this caller has had a job here before, and so is monitored."
  @spec caller?(t, pid) :: boolean
  def caller?(in_flight, pid), do: is_map_key(in_flight.callers, pid)

  @doc "Remembers a caller, which is monitored from now on."
  @spec add_caller(t, pid) :: t
  def add_caller(in_flight, pid),
    do: %{in_flight | callers: Map.put(in_flight.callers, pid, true)}

  @doc "Adds a job under the id that `next_id/1` gave."
  @spec put(t, id, Job.t()) :: t
  def put(in_flight, id, job) do
    %{in_flight | next: following(id), jobs: Map.put(in_flight.jobs, id, job)}
  end

  @doc "Removes a job: its terminal reply is there."
  @spec take(t, id) :: {Job.t(), t} | :error
  def take(in_flight, id) do
    case :maps.take(id, in_flight.jobs) do
      {job, jobs} -> {job, %{in_flight | jobs: jobs}}
      :error -> :error
    end
  end

  @spec fetch(t, id) :: {:ok, Job.t()} | :error
  def fetch(in_flight, id), do: Map.fetch(in_flight.jobs, id)

  @doc "The id of a job that somebody waits for."
  @spec id(t, Job.t()) :: {:ok, id} | :error
  def id(in_flight, %Job{ref: ref}) do
    Enum.find_value(in_flight.jobs, :error, fn {id, job} ->
      if job.ref == ref and job.owner, do: {:ok, id}
    end)
  end

  @doc "Nobody waits for this job any more, but its id is in use until the terminal reply."
  @spec abandon(t, id) :: t
  def abandon(%{jobs: jobs} = in_flight, id) do
    %{in_flight | jobs: Map.update!(jobs, id, &%{&1 | owner: nil, on_progress: nil})}
  end

  @doc "Forgets a caller, and returns the jobs that it had waited for."
  @spec drop_caller(t, pid) :: {[{id, Job.t()}], t}
  def drop_caller(in_flight, pid) do
    jobs = for {id, %Job{owner: ^pid} = job} <- in_flight.jobs, do: {id, job}
    {jobs, %{in_flight | callers: Map.delete(in_flight.callers, pid)}}
  end

  @spec size(t) :: non_neg_integer
  def size(in_flight), do: map_size(in_flight.jobs)

  defp following(@last_id), do: 0
  defp following(id), do: id + 1
end
