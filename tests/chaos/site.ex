defmodule Chaos.Site do
  @moduledoc """
  What a run uses of the machine: a directory of its own, in it a copy of the worker program, so that its
  processes are known by it whoever else runs workers, and the temporary files of its pools.
  """

  @type t :: %{directory: Path.t(), executable: Path.t(), plugin: Path.t()}

  @doc "From the environment: STEVEDORE, or STEVEDORE_INJECTED, and STEVEDORE_PLUGINS (`./dev chaos` sets them)."
  @spec open(String.t()) :: t
  def open(variable \\ "STEVEDORE") do
    directory = Path.join(System.tmp_dir!(), "chaos-#{System.pid()}")
    files = Path.join(directory, "files")
    executable = Path.join(directory, "stevedore")
    File.mkdir_p!(files)
    File.cp!(System.fetch_env!(variable), executable)
    System.put_env("TMPDIR", files)
    plugin = Path.join(System.fetch_env!("STEVEDORE_PLUGINS"), "ledger.so")
    %{directory: directory, executable: executable, plugin: plugin}
  end

  @spec close(t) :: [Path.t()]
  def close(site), do: File.rm_rf!(site.directory)

  @spec ledger(t) :: Path.t()
  def ledger(site), do: Path.join(site.directory, "ledger")

  @doc "A pool of that program with the ledger's ops; it restarts its workers as quickly as it can."
  @spec start_pool(t, keyword) :: {:ok, pid} | {:error, term}
  def start_pool(site, options) do
    {env, options} = Keyword.pop(options, :env, [])

    Stevedore.start_link(
      [
        executable: site.executable,
        plugins: [site.plugin],
        env: [{"STEVEDORE_LEDGER", ledger(site)} | env],
        backoff_min: 1,
        backoff_max: 50,
        drain_timeout: 3_000
      ] ++ options
    )
  end

  @spec stop_pool(pid) :: :ok
  def stop_pool(supervisor) do
    Process.unlink(supervisor)
    Supervisor.stop(supervisor)
  end
end
