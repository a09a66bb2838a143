defmodule Stevedore.Manager.Circuit do
  @moduledoc false
  # How long a slot waits for its next worker, and when the pool stops hoping. Pure: the Manager passes the time
  # and the randomness in.
  #
  # Only ends without a job count here (see docs/decisions/0009). Each slot has a back-off of its own; after
  # `threshold` such ends in a row, of whatever slots, and while no worker is ready, the circuit is open.
  #
  #     closed ──`threshold` ends without a job, none ready──► open ◄──the probe ends──┐
  #       ▲                                                     └─────a probe──────► half_open
  #       └─────────────────────────────────a worker is ready───────────────────────────┘
  #
  # The probe is a worker: one is started at a time, when its slot's back-off is over. Calls are refused until it is
  # ready.

  alias Stevedore.Backoff

  # ms without an end, after which those before do not count any more.
  @quiet 10_000

  @enforce_keys [:threshold, :min, :max]
  defstruct [:threshold, :min, :max, :last, state: :closed, failures: 0, backoffs: %{}]

  @type slot :: pos_integer
  @type t :: %__MODULE__{
          threshold: pos_integer,
          min: pos_integer,
          max: pos_integer,
          last: integer | nil,
          state: :closed | :open | :half_open,
          failures: non_neg_integer,
          backoffs: %{slot => Backoff.t()}
        }

  @doc "From a pool's options."
  @spec new(map) :: t
  def new(options) do
    %__MODULE__{threshold: options.circuit, min: options.backoff_min, max: options.backoff_max}
  end

  @doc "A worker of the slot has ended that had had a job: all is forgotten."
  @spec died_of_a_job(t, slot) :: t
  def died_of_a_job(circuit, slot) do
    %{circuit | failures: 0, backoffs: Map.delete(circuit.backoffs, slot)}
  end

  @doc "A worker of the slot has ended without a job: ms to wait before the next. `ready?`: another one serves."
  @spec ended_idle(t, slot, boolean, integer, float) :: {non_neg_integer, t}
  def ended_idle(circuit, slot, ready?, now, random \\ :rand.uniform()) do
    backoff =
      Map.get_lazy(circuit.backoffs, slot, fn -> Backoff.new(circuit.min, circuit.max) end)

    {delay, backoff} = Backoff.next(backoff, now, random)
    failures = if quiet?(circuit, now), do: 1, else: circuit.failures + 1
    open? = failures >= circuit.threshold and not ready?
    state = if open? or circuit.state == :half_open, do: :open, else: circuit.state

    {delay,
     %{
       circuit
       | state: state,
         failures: failures,
         last: now + delay,
         backoffs: Map.put(circuit.backoffs, slot, backoff)
     }}
  end

  defp quiet?(%{last: nil}, _now), do: false
  # The wait itself is not quiet time.
  defp quiet?(%{last: last}, now), do: now - last >= @quiet

  @doc "A worker is started."
  @spec probe(t) :: t
  def probe(%{state: :open} = circuit), do: %{circuit | state: :half_open}
  def probe(circuit), do: circuit

  @doc "A worker is ready."
  @spec close(t) :: t
  def close(circuit), do: %{circuit | state: :closed}
end
