defmodule Stevedore.Worker.InFlight do
  @moduledoc false
  # Who waits for which id. Pure. Ids are a counter that wraps within the 31 bits of PROTOCOL §4.1
  # and skips what is still in use: at a few hundred thousand jobs a second it wraps within hours,
  # and a long job may outlast that.
  #
  # A job is also found by its caller's reference, for cancelling.

  @last_id 2_147_483_647

  defstruct next: 0, jobs: %{}, ids: %{}

  alias Stevedore.Job

  @type id :: 0..2_147_483_647
  @type t :: %__MODULE__{
          next: id,
          jobs: %{id => {Job.t(), monitor :: reference}},
          ids: %{reference => id}
        }

  @spec new(id) :: t
  def new(first \\ 0), do: %__MODULE__{next: first}

  @doc "The id that the next job gets."
  @spec next_id(t) :: id
  def next_id(%{next: id, jobs: jobs}) when not is_map_key(jobs, id), do: id
  def next_id(in_flight), do: next_id(%{in_flight | next: following(in_flight.next)})

  @doc "Adds a job, and the monitor of its caller, under the id that `next_id/1` gave."
  @spec put(t, id, Job.t(), reference) :: t
  def put(%{jobs: jobs, ids: ids}, id, job, monitor) do
    %__MODULE__{
      next: following(id),
      jobs: Map.put(jobs, id, {job, monitor}),
      ids: Map.put(ids, job.ref, id)
    }
  end

  @doc "Removes a job: its terminal reply is there."
  @spec take(t, id) :: {Job.t(), reference, t} | :error
  def take(%{jobs: jobs, ids: ids} = in_flight, id) do
    case jobs do
      %{^id => {job, monitor}} ->
        rest = %{in_flight | jobs: Map.delete(jobs, id), ids: Map.delete(ids, job.ref)}
        {job, monitor, rest}

      %{} ->
        :error
    end
  end

  @spec fetch(t, id) :: {:ok, Job.t()} | :error
  def fetch(in_flight, id) do
    with {:ok, {job, _monitor}} <- Map.fetch(in_flight.jobs, id), do: {:ok, job}
  end

  @doc "The job of that id if its caller still waits, and is the one with this monitor."
  @spec waiting(t, id, reference) :: {:ok, Job.t()} | :error
  def waiting(in_flight, id, monitor) do
    case in_flight.jobs do
      %{^id => {%Job{owner: owner} = job, ^monitor}} when is_pid(owner) -> {:ok, job}
      %{} -> :error
    end
  end

  @doc "The id of the job with that reference."
  @spec id(t, reference) :: {:ok, id} | :error
  def id(in_flight, ref), do: Map.fetch(in_flight.ids, ref)

  @doc "Nobody waits for this job any more, but its id is in use until the terminal reply."
  @spec abandon(t, id) :: t
  def abandon(in_flight, id) do
    jobs =
      Map.update!(in_flight.jobs, id, fn {job, monitor} ->
        {%{job | owner: nil, on_progress: nil}, monitor}
      end)

    %{in_flight | jobs: jobs}
  end

  @spec size(t) :: non_neg_integer
  def size(in_flight), do: map_size(in_flight.jobs)

  defp following(@last_id), do: 0
  defp following(id), do: id + 1
end
