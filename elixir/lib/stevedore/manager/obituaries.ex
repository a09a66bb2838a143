defmodule Stevedore.Manager.Obituaries do
  @moduledoc false
  # The last deaths of a pool's workers, newest first, and how many there have been of each cause. Pure.
  # Kept by the Manager for `Stevedore.stats/1`; the Roster keeps them for it if it crashes.

  alias Stevedore.BlackBox

  @most 32

  defstruct counts: %{}, recent: []

  @type crash :: %{
          op: String.t() | nil,
          id: non_neg_integer | nil,
          signal: String.t() | nil,
          address: String.t() | nil,
          backtrace: [String.t()],
          ran_us: non_neg_integer
        }
  @type death :: %{
          at: integer,
          worker: pid,
          os_pid: pos_integer | nil,
          cause: atom,
          text: String.t(),
          crash: crash | nil
        }
  @type t :: %__MODULE__{counts: %{atom => pos_integer}, recent: [death]}

  @doc "How many deaths are remembered one by one."
  @spec most() :: pos_integer
  def most, do: @most

  @doc "Adds a death: it is the newest."
  @spec add(t, death) :: t
  def add(%__MODULE__{} = obituaries, death) do
    %{
      obituaries
      | counts: Map.update(obituaries.counts, death.cause, 1, &(&1 + 1)),
        recent: Enum.take([death | obituaries.recent], @most)
    }
  end

  @doc "What a black box says of a crash, in words."
  @spec crash(BlackBox.crash() | nil) :: crash | nil
  def crash(nil), do: nil

  def crash(crash) do
    %{
      op: crash.op,
      id: crash.id,
      signal: crash.signal,
      address: BlackBox.address_text(crash),
      backtrace: Enum.map(crash.frames, &BlackBox.frame_text/1),
      ran_us: crash.ran_us
    }
  end
end
