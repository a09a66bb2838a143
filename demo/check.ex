defmodule Demo.Check do
  @moduledoc """
  Compares what the pool did with what other programs say: every digest with `sha256sum`'s, and every
  compressed file with its original, decompressed by the pool and by `zstd` if that is installed.

  A file may have changed or vanished since the pool read it. So what differs is done and compared once
  more; it is no difference if the file is another one by now, and right at the second look.
  """

  alias Demo.{Jobs, Scratch, Walk}

  @type difference :: String.t()

  @doc "The arguments of a digest as the demo asks for it."
  @spec digest_args(Jobs.file()) :: map
  def digest_args(file), do: %{algorithm: "sha256", path: file.path}

  @doc "The arguments that compress a file to its `to`."
  @spec compress_args(map) :: map
  def compress_args(file), do: %{path: file.path, to: file.to}

  @doc "Every digest against `sha256sum`; what differs, in words."
  @spec digests(Stevedore.pool(), [{Jobs.file(), Stevedore.result()}], Scratch.t()) ::
          [difference]
  def digests(pool, results, scratch) do
    expected = results |> Enum.map(fn {file, _result} -> file.path end) |> sha256sum(scratch)

    results
    |> Enum.reject(fn {file, result} -> result == {:ok, expected[file.path]} end)
    |> Enum.flat_map(fn {file, result} -> digest_again(pool, file, result, scratch) end)
  end

  defp digest_again(pool, file, first, scratch) do
    again = Stevedore.call(pool, "digest", digest_args(file))
    expected = sha256sum([file.path], scratch)[file.path]
    said = "the pool said #{inspect(first)}, then #{inspect(again)}"
    excuse(file, again == {:ok, expected}, "#{said}; sha256sum says #{inspect(expected)}")
  end

  @doc "Every compressed file (at `to`) against its original; what differs, in words."
  @spec compressed(Stevedore.pool(), [map], Scratch.t()) :: [difference]
  def compressed(pool, files, scratch) do
    pool
    |> differing(files, scratch)
    |> Enum.flat_map(&compress_again(pool, &1, scratch))
  end

  defp compress_again(pool, file, scratch) do
    result = Stevedore.call(pool, "zstd.compress", compress_args(file))
    same? = differing(pool, [file], scratch) == []
    excuse(file, same?, "compressed and decompressed it is another file (#{inspect(result)})")
  end

  # Nothing but a change of the file itself makes the first difference good.
  defp excuse(file, same_now?, difference) do
    case {Walk.stamp(file.path), same_now?} do
      {nil, _same?} -> note(file, "vanished while the demo ran")
      {stamp, true} when stamp != file.stamp -> note(file, "changed while the demo ran")
      _no_excuse -> ["#{file.path}: #{difference}"]
    end
  end

  defp differing(pool, files, scratch) do
    originals = files |> Enum.map(& &1.path) |> sha256sum(scratch)
    by_pool = decompressed_by_pool(pool, files, scratch)
    by_command = if System.find_executable("zstd"), do: &decompressed_by_command/1

    Enum.reject(files, fn file ->
      original = Map.get(originals, file.path, :unreadable)
      by_pool[back(file)] == original and (by_command == nil or by_command.(file) == original)
    end)
  end

  defp decompressed_by_pool(pool, files, scratch) do
    args = &%{path: &1.to, to: back(&1), limit: &1.size}
    _summary = Jobs.run(pool, "zstd.decompress", files, args)
    files |> Enum.map(&back/1) |> sha256sum(scratch)
  end

  defp decompressed_by_command(file) do
    {output, _status} =
      shell(~S(zstd --decompress --stdout --quiet -- "$FILE" | sha256sum), file.to)

    String.slice(output, 0, 64)
  end

  defp back(file), do: file.to <> ".back"

  # The digests, by path, of those files that can be read. A name may have any byte in it but NUL.
  defp sha256sum(paths, scratch) do
    list = Scratch.path(scratch, "paths")
    File.write!(list, Enum.map(paths, &[&1, 0]))
    {output, _status} = shell(~S(xargs -0 sha256sum --zero -- < "$FILE" 2> /dev/null), list)

    for <<digest::binary-size(64), "  ", path::binary>> <- String.split(output, <<0>>),
        into: %{},
        do: {path, digest}
  end

  defp shell(command, file), do: System.shell(command, env: [{"FILE", file}])

  defp note(file, text) do
    IO.puts("note: #{file.path} #{text}")
    []
  end
end
