defmodule Demo.Scratch do
  @moduledoc """
  A temporary directory that is gone when the BEAM is, however it ends: a shell waits for the end of its
  stdin, which is the end of its port, and then removes the directory.
  """

  @waiter ~S(cat > /dev/null; rm -rf -- "$0")

  @enforce_keys [:path, :waiter]
  defstruct [:path, :waiter]

  @type t :: %__MODULE__{path: Path.t(), waiter: port}

  @spec create() :: t
  def create do
    name = "stevedore-demo-#{System.pid()}-#{System.unique_integer([:positive])}"
    path = Path.join(System.tmp_dir!(), name)
    # Before the directory is there, so that there is no moment in which nobody would remove it.
    waiter = Port.open({:spawn_executable, "/bin/sh"}, args: ["-c", @waiter, path])
    File.mkdir!(path)
    %__MODULE__{path: path, waiter: waiter}
  end

  @doc "The directory, or a file in it."
  @spec path(t, String.t()) :: Path.t()
  def path(scratch, name \\ "."), do: Path.join(scratch.path, name) |> Path.expand()

  @spec remove(t) :: :ok
  def remove(scratch) do
    File.rm_rf!(scratch.path)
    Port.close(scratch.waiter)
    :ok
  end
end
