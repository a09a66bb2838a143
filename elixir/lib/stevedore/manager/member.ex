defmodule Stevedore.Manager.Member do
  @moduledoc false
  # What the Manager knows of one worker. A spare becomes the worker of its slot when it is ready.

  @enforce_keys [:slot, :options]
  defstruct [:slot, :options, :ended, :started_at, state: :booting, spare: false]

  @typedoc """
  What a worker says as it ends: `taken` is how many jobs it has had, `started` are the ids of those that have had no
  reply, though their ops were called.
  """
  @type ending :: %{
          cause: atom,
          text: String.t(),
          taken: non_neg_integer,
          started: [Stevedore.Protocol.id()],
          os_pid: pos_integer | nil,
          crash: Stevedore.Manager.Obituaries.crash() | nil
        }

  @type t :: %__MODULE__{
          slot: pos_integer,
          options: map,
          state: :booting | :ready | :wounded | :leaving,
          spare: boolean,
          started_at: integer,
          ended: nil | ending
        }

  @spec new(pos_integer, map, keyword) :: t
  def new(slot, options, more \\ []) do
    started_at = System.monotonic_time()
    struct!(%__MODULE__{slot: slot, options: options, started_at: started_at}, more)
  end

  @doc "Whether it fills its slot."
  @spec serving?(t) :: boolean
  def serving?(%__MODULE__{spare: true}), do: false
  def serving?(%__MODULE__{state: state}), do: state in [:booting, :ready]

  @spec leave_if(t, boolean) :: t
  def leave_if(member, true), do: %{member | state: :leaving}
  def leave_if(member, false), do: member

  @doc "Its state as it is documented."
  @spec state(t) :: :booting | :ready | :wounded | :draining
  def state(%__MODULE__{state: :leaving}), do: :draining
  def state(%__MODULE__{state: state}), do: state
end
