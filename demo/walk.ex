defmodule Demo.Walk do
  @moduledoc """
  The regular files below a directory: no symbolic links, nothing special, nothing unreadable. Bounded,
  so that a demo of `/` ends too.
  """

  alias Demo.Table

  @most_files 20_000
  @most_bytes 2 * 1024 * 1024 * 1024

  defstruct files: [], count: 0, bytes: 0, skipped: 0, cut?: false

  @type file :: %{path: Path.t(), size: non_neg_integer, stamp: tuple}
  @type t :: %__MODULE__{
          files: [file],
          count: non_neg_integer,
          bytes: non_neg_integer,
          skipped: non_neg_integer,
          cut?: boolean
        }

  @doc "The files in the order of their names, and how many entries were left out."
  @spec files(Path.t()) :: t
  def files(directory) do
    walk = directory |> Path.expand() |> entries() |> Enum.reduce_while(%__MODULE__{}, &add/2)
    %{walk | files: Enum.reverse(walk.files)}
  end

  @spec describe(t, Path.t()) :: String.t()
  def describe(walk, directory) do
    found = "#{directory}: #{Table.count(walk.count)} files, #{Table.bytes(walk.bytes)}"
    skipped = ", #{Table.count(walk.skipped)} links and others left out"
    found <> skipped <> if(walk.cut?, do: "; there are more, but this is enough", else: "")
  end

  defp add(:skipped, walk), do: {:cont, %{walk | skipped: walk.skipped + 1}}

  defp add(%{size: size}, %{count: count, bytes: bytes} = walk)
       when count == @most_files or bytes + size > @most_bytes do
    {:halt, %{walk | cut?: true}}
  end

  defp add(file, walk) do
    {:cont,
     %{
       walk
       | files: [file | walk.files],
         count: walk.count + 1,
         bytes: walk.bytes + file.size
     }}
  end

  # Lazy: what lies beyond the bounds is never looked at.
  defp entries(directory) do
    case File.ls(directory) do
      {:ok, names} -> names |> Enum.sort() |> Stream.flat_map(&entry(Path.join(directory, &1)))
      {:error, _reason} -> [:skipped]
    end
  end

  defp entry(path) do
    case File.lstat(path) do
      {:ok, %{type: :directory}} ->
        entries(path)

      {:ok, %{type: :regular, access: access} = stat} when access in [:read, :read_write] ->
        [%{path: path, size: stat.size, stamp: stamp_of(stat)}]

      _other ->
        [:skipped]
    end
  end

  @doc "What differs once a file has been written to or replaced; `nil` if it is gone."
  @spec stamp(Path.t()) :: tuple | nil
  def stamp(path) do
    case File.lstat(path) do
      {:ok, stat} -> stamp_of(stat)
      {:error, _reason} -> nil
    end
  end

  defp stamp_of(stat), do: {stat.inode, stat.size, stat.mtime, stat.ctime}
end
