defmodule Stevedore.Worker.InFlight do
  @moduledoc false
  # Who waits for which id. Pure. Ids are a counter that wraps within the 31 bits of PROTOCOL §4.1
  # and skips what is still in use: at a few hundred thousand jobs a second it wraps within hours,
  # and a long job may outlast that.
  #
  # A job is also found by its caller and its reference, for cancelling. Callers stay known, and
  # monitored, after their last job until they die: a monitor per job would interrupt each caller
  # twice while it waits, which costs about as much as all the rest of a small call.

  alias Stevedore.Job

  @last_id 2_147_483_647

  defstruct next: 0, jobs: %{}, callers: %{}

  @type id :: 0..2_147_483_647
  @type t :: %__MODULE__{
          next: id,
          jobs: %{id => Job.t()},
          callers: %{pid => %{reference => id}}
        }

  @spec new(id) :: t
  def new(first \\ 0), do: %__MODULE__{next: first}

  @doc "The id that the next job gets."
  @spec next_id(t) :: id
  def next_id(%{next: id, jobs: jobs}) when not is_map_key(jobs, id), do: id
  def next_id(in_flight), do: next_id(%{in_flight | next: following(in_flight.next)})

  @doc "Whether this caller has had a job here before, and so is monitored."
  @spec caller?(t, pid) :: boolean
  def caller?(in_flight, pid), do: is_map_key(in_flight.callers, pid)

  @doc "Adds a job under the id that `next_id/1` gave."
  @spec put(t, id, Job.t()) :: t
  def put(%{jobs: jobs, callers: callers}, id, %Job{owner: owner, ref: ref} = job) do
    own =
      case callers do
        %{^owner => own} -> Map.put(own, ref, id)
        %{} -> %{ref => id}
      end

    %__MODULE__{
      next: following(id),
      jobs: Map.put(jobs, id, job),
      callers: Map.put(callers, owner, own)
    }
  end

  @doc "Removes a job: its terminal reply is there."
  @spec take(t, id) :: {Job.t(), t} | :error
  def take(%{jobs: jobs} = in_flight, id) do
    case jobs do
      %{^id => job} -> {job, forget(%{in_flight | jobs: Map.delete(jobs, id)}, job)}
      %{} -> :error
    end
  end

  @spec fetch(t, id) :: {:ok, Job.t()} | :error
  def fetch(in_flight, id), do: Map.fetch(in_flight.jobs, id)

  @doc "The id of a caller's job."
  @spec id(t, Job.t()) :: {:ok, id} | :error
  def id(in_flight, %Job{owner: owner, ref: ref}) do
    case in_flight.callers do
      %{^owner => %{^ref => id}} -> {:ok, id}
      %{} -> :error
    end
  end

  @doc "Nobody waits for this job any more, but its id is in use until the terminal reply."
  @spec abandon(t, id) :: t
  def abandon(%{jobs: jobs} = in_flight, id) do
    %{^id => job} = jobs
    in_flight = %{in_flight | jobs: %{jobs | id => %{job | owner: nil, on_progress: nil}}}
    forget(in_flight, job)
  end

  @doc "Forgets a caller, and returns the jobs that it had waited for."
  @spec drop_caller(t, pid) :: {[{id, Job.t()}], t}
  def drop_caller(in_flight, pid) do
    {own, callers} = Map.pop(in_flight.callers, pid, %{})
    jobs = for {_ref, id} <- own, do: {id, Map.fetch!(in_flight.jobs, id)}
    {jobs, %{in_flight | callers: callers}}
  end

  @spec size(t) :: non_neg_integer
  def size(in_flight), do: map_size(in_flight.jobs)

  defp forget(%{callers: callers} = in_flight, %Job{owner: owner, ref: ref}) do
    case callers do
      %{^owner => own} -> %{in_flight | callers: %{callers | owner => Map.delete(own, ref)}}
      %{} -> in_flight
    end
  end

  defp following(@last_id), do: 0
  defp following(id), do: id + 1
end
