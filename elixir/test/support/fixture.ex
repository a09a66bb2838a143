defmodule Stevedore.Fixture do
  @moduledoc false
  # The misbehaving worker programs in tests/fixtures, compiled once per run.

  @sources Path.expand("../../../tests/fixtures", __DIR__)

  @spec path(String.t()) :: Path.t()
  def path(name), do: Path.join(directory(), name)

  @spec compile_all() :: :ok
  def compile_all do
    File.mkdir_p!(directory())

    for source <- Path.wildcard(Path.join(@sources, "*.c")) do
      program = source |> Path.basename(".c") |> path()
      {output, 0} = System.cmd("cc", ["-o", program, source], stderr_to_stdout: true)
      "" = output
    end

    :ok
  end

  @spec remove_all() :: [Path.t()]
  def remove_all, do: File.rm_rf!(directory())

  defp directory, do: Path.join(System.tmp_dir!(), "stevedore-fixtures-#{System.pid()}")
end
