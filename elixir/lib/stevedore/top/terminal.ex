defmodule Stevedore.Top.Terminal do
  @moduledoc false
  # A terminal that sends every key at once and can be drawn on, and that is as before afterwards, whatever ends the
  # VM: a small shell program sets it, waits until it is told to stop or its stdin ends, which it does when the VM has died, and sets
  # it back.
  #
  # It knows the terminal by its name, for the VM's children have no controlling terminal. OTP reads the keys all the
  # same: without a shell of its own it only reads what the terminal gives. So this needs neither `-noshell` in raw mode (OTP 28) nor
  # any other facility of a certain OTP.

  @script """
  was=$(stty -g <"$0") || exit 1
  trap '' INT HUP TSTP TTOU
  stty raw -echo <"$0"
  printf '\\033[?1049h\\033[?25l' >"$0"
  stty size <"$0"
  while read -r word && [ "$word" = size ]; do stty size <"$0"; done
  printf '\\033[?25h\\033[?1049l' >"$0"
  stty "$was" <"$0"
  """

  @answer_within 2_000

  @enforce_keys [:port]
  defstruct [:port, width: 80, height: 24]

  @type t :: %__MODULE__{port: port, width: pos_integer, height: pos_integer}

  @doc "The terminal this VM was started in: `:none` if its input or output is something else."
  @spec open() :: {:ok, t} | :none
  def open do
    with [path, path] <- Enum.map([0, 1], &device/1), true <- terminal?(path) do
      script = {:spawn_executable, ~c"/bin/sh"}
      port = Port.open(script, [:binary, :exit_status, line: 80, args: ["-c", @script, path]])
      read_size(%__MODULE__{port: port})
    else
      _other -> :none
    end
  end

  defp device(number) do
    case File.read_link("/proc/#{System.pid()}/fd/#{number}") do
      {:ok, path} -> path
      {:error, _reason} -> nil
    end
  end

  defp terminal?("/dev/" <> name), do: String.starts_with?(name, ["pts/", "tty", "console"])
  defp terminal?(_path), do: false

  defp read_size(%{port: port} = terminal) do
    receive do
      {^port, {:data, {:eol, size}}} ->
        [rows, columns] = size |> String.split() |> Enum.map(&String.to_integer/1)
        {:ok, %{terminal | width: known(columns, 80), height: known(rows, 24)}}

      {^port, {:exit_status, _status}} ->
        :none
    after
      @answer_within -> :none
    end
  end

  # Some terminals do not know their size.
  defp known(0, default), do: default
  defp known(size, _default), do: max(size, 5)

  @doc "With its size as it is now: it may have changed."
  @spec resized(t) :: t
  def resized(%{port: port} = terminal) do
    Port.command(port, "size\n")

    case read_size(terminal) do
      {:ok, terminal} -> terminal
      :none -> terminal
    end
  end

  @doc "Draws a whole screen; what was there is written over."
  @spec draw(t, [Stevedore.Top.View.line()]) :: :ok
  def draw(_terminal, lines) do
    rows =
      Enum.map_intersperse(lines, "\r\n", fn {style, text} ->
        [colour(style), text, "\e[0m\e[K"]
      end)

    IO.write(["\e[H", rows, "\e[J"])
  end

  defp colour(:title), do: "\e[1m"
  defp colour(:head), do: "\e[7m"
  defp colour(:bad), do: "\e[31m"
  defp colour(:dim), do: "\e[2m"
  defp colour(:plain), do: ""

  @doc "Gives the terminal back as it was; returns when it is."
  @spec close(t) :: :ok
  def close(%{port: port}) do
    Port.command(port, "end\n")

    receive do
      {^port, {:exit_status, _status}} -> :ok
    after
      @answer_within -> :ok
    end
  rescue
    ArgumentError -> :ok
  end
end
