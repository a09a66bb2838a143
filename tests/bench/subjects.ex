defmodule Bench.Subject do
  @moduledoc """
  What is measured: Stevedore with one and with two workers, and the two baselines, all with the same
  few functions.

    * `start` starts it under a supervisor that starts it again, and returns when it is ready
    * `echo` sends a payload through it: `{:ok, payload}`
    * `owner` is a process that owns a port, `os_pid` the operating system's process behind it
  """

  @enforce_keys [:key, :title, :start, :echo, :owner, :os_pids]
  defstruct @enforce_keys

  @type key :: :stevedore_1 | :stevedore_2 | :classic | :bare
  @type t :: %__MODULE__{
          key: key,
          title: String.t(),
          start: (-> pid),
          echo: (term -> {:ok, term} | {:error, term}),
          owner: (-> pid),
          os_pids: (-> [pos_integer])
        }

  @doc "All of them; the first is what the ratios are about."
  @spec all(worker :: Path.t(), echo_port :: Path.t()) :: [t]
  def all(worker, echo_port) do
    [stevedore(1), stevedore(2), classic(worker), bare(echo_port)]
  end

  defp stevedore(workers) do
    key = :"stevedore_#{workers}"
    name = Module.concat(Bench, "Pool#{workers}")

    %__MODULE__{
      key: key,
      title: "Stevedore × #{workers}",
      start: fn -> supervise({Stevedore, name: name, workers: workers}) end,
      echo: &Stevedore.call(name, "echo", &1),
      owner: fn -> hd(Stevedore.info(name).workers).pid end,
      os_pids: fn -> Enum.map(Stevedore.info(name).workers, & &1.os_pid) end
    }
  end

  defp classic(worker) do
    name = Bench.Classic

    %__MODULE__{
      key: :classic,
      title: "Classic",
      start: fn -> supervise({Bench.Classic, name: name, executable: worker}) end,
      echo: &Bench.Classic.call(name, "echo", &1),
      owner: fn -> Process.whereis(name) end,
      os_pids: fn -> [Bench.Classic.os_pid(name)] end
    }
  end

  defp bare(echo_port) do
    name = Bench.Bare

    %__MODULE__{
      key: :bare,
      title: "bare echo",
      start: fn -> supervise({Bench.Bare, name: name, executable: echo_port}) end,
      echo: &Bench.Bare.echo(name, &1),
      owner: fn -> Process.whereis(name) end,
      os_pids: fn -> [Bench.Bare.os_pid(name)] end
    }
  end

  defp supervise(child) do
    {:ok, supervisor} = Supervisor.start_link([child], strategy: :one_for_one)
    supervisor
  end
end
