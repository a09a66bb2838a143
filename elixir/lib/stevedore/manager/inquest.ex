defmodule Stevedore.Manager.Inquest do
  @moduledoc false
  # Workers that were killed together with what they knew (`Process.exit(worker, :kill)`): their black boxes say
  # of each job whether it had started. The Manager keeps every worker's black box open for that: the file
  # has no name any more and goes when the last one closes it, even if the VM is killed.
  #
  # The OS process of such a worker is killed first; its evidence is not final before that.

  alias Stevedore.{BlackBox, Error, Protocol, Ticket}
  alias Stevedore.Worker.{Boot, Host, Settlement}

  @typedoc "The number is of how many deaths it had started by."
  @type verdict ::
          :never_started | :unknown | {Stevedore.Error.kind(), String.t(), map, pos_integer}

  # Graves are kept for so many workers,
  @remembered 32

  # and the ids of so many jobs that a worker had started and that were its own to settle.
  @remembered_jobs 8_192

  # ms between looks whether the process is gone, and how often.
  @look_every 5
  @looks 1_000

  # `since`: of jobs that were sent before that nothing is known; `alive`: pid => {os_pid, text on its command line,
  # file}; `graves`: [{pid, :unopened | BlackBox.t() | nil, died_at}], the last that died first; `started`: ids.
  defstruct [:since, alive: %{}, graves: [], waiting: [], started: []]

  @type t :: %__MODULE__{}

  @spec new() :: t
  def new, do: %__MODULE__{since: System.monotonic_time()}

  @doc "A worker is ready: its black box loses its name."
  @spec enter(t, pid, pos_integer, Path.t()) :: t
  def enter(inquest, pid, os_pid, path) do
    file =
      with {:ok, file} <- :file.open(path, [:read, :raw, :binary]) do
        _ = File.rm(path)
        file
      else
        {:error, _reason} -> nil
      end

    %{inquest | alive: Map.put(inquest.alive, pid, {os_pid, path, file})}
  end

  @doc """
  A worker that was there before this Manager: its black box has no name any more, and cannot be read. So that it is
  at least known of its jobs that they may have started.
  """
  @spec adopt(t, pid, pos_integer) :: t
  def adopt(inquest, pid, os_pid),
    do: %{inquest | alive: Map.put(inquest.alive, pid, {os_pid, Boot.mark(), nil})}

  @doc "Of what was sent up to now it knows nothing."
  @spec begin(t) :: t
  def begin(inquest), do: %{inquest | since: System.monotonic_time()}

  @doc "The process of a worker that has been ready; `nil` if it is not known."
  @spec os_pid(t, pid) :: pos_integer | nil
  def os_pid(inquest, pid) do
    with %{^pid => {os_pid, _text, _file}} <- inquest.alive, do: os_pid, else: (_ -> nil)
  end

  @doc "The worker has settled its jobs itself."
  @spec leave(t, pid) :: t
  def leave(inquest, pid) do
    {entry, alive} = Map.pop(inquest.alive, pid)
    with {_os_pid, _text, file} <- entry, do: close_file(file)
    %{inquest | alive: alive}
  end

  @doc """
  Jobs that had started in a worker that died, and settles them itself. Those that are run again may be lost a second
  time, and do not look then as if they had never started.
  """
  @spec remember(t, [Protocol.id()]) :: t
  def remember(inquest, []), do: inquest

  def remember(inquest, ids) do
    %{inquest | started: Enum.take(ids ++ inquest.started, @remembered_jobs)}
  end

  @doc "The worker was killed: makes sure that its process is, too. `{:process_gone, pid}` comes when it is."
  @spec bury(t, pid) :: t
  def bury(inquest, pid) do
    case inquest.alive do
      %{^pid => {os_pid, text, _file}} ->
        end_process(os_pid, text, pid, self())
        graves = [{pid, :unopened, System.monotonic_time()} | inquest.graves]
        make_room(%{inquest | graves: graves})

      # It never got ready, and never had a job.
      _unknown ->
        inquest
    end
  end

  # What may have been in the oldest one is not known any more: it must not look as if it had never started.
  defp make_room(%{graves: graves} = inquest) do
    case Enum.split(graves, @remembered) do
      {_all, []} -> inquest
      {graves, [{_pid, _box, died_at}]} -> %{inquest | graves: graves, since: died_at + 1}
    end
  end

  defp end_process(os_pid, text, pid, manager) do
    spawn(fn ->
      if Host.runs?(os_pid, text), do: Host.kill(os_pid)
      :ok = await_end(os_pid, text, @looks)
      send(manager, {:process_gone, pid})
    end)
  end

  defp await_end(_os_pid, _text, 0), do: :ok

  defp await_end(os_pid, text, looks) do
    if Host.runs?(os_pid, text) do
      Process.sleep(@look_every)
      await_end(os_pid, text, looks - 1)
    else
      :ok
    end
  end

  @doc "The process is dead: reads its black box, and answers those who have waited for that."
  @spec open_grave(t, pid) :: t
  def open_grave(inquest, pid) do
    {{_os_pid, _text, file}, alive} = Map.pop!(inquest.alive, pid)
    box = read(file)
    :ok = close_file(file)

    graves =
      Enum.map(inquest.graves, fn
        {^pid, :unopened, died_at} -> {pid, box, died_at}
        other -> other
      end)

    inquest = %{inquest | alive: alive, graves: graves}

    %{inquest | waiting: Enum.reject(inquest.waiting, &answer(&1, inquest))}
  end

  defp answer({from, ticket}, inquest) do
    case verdict(inquest, ticket) do
      {:ok, verdict} -> GenServer.reply(from, verdict) == :ok
      :later -> false
    end
  end

  defp read(nil), do: nil

  defp read(file) do
    case BlackBox.read(file) do
      {:ok, box} -> box
      {:error, _reason} -> nil
    end
  end

  defp close_file(nil), do: :ok

  defp close_file(file) do
    _ = :file.close(file)
    :ok
  end

  @doc "What is known of a job that nobody has."
  @spec verdict(t, Ticket.t()) :: {:ok, verdict} | :later
  def verdict(%{since: since}, %Ticket{started_at: started_at}) when started_at < since,
    do: {:ok, :unknown}

  def verdict(inquest, ticket) do
    graves = for {_pid, box, died_at} <- inquest.graves, died_at >= ticket.started_at, do: box

    cond do
      :unopened in graves ->
        :later

      nil in graves ->
        {:ok, :unknown}

      true ->
        {:ok, sum_up(Enum.flat_map(graves, &started(&1, ticket)) ++ earlier(inquest, ticket))}
    end
  end

  defp earlier(%{started: started}, %Ticket{id: id}) do
    for ^id <- started do
      %Error{
        kind: :lost,
        message: "it was running when its worker ended, and was not run again to its end",
        details: %{"state" => "running"}
      }
    end
  end

  defp sum_up([]), do: :never_started

  defp sum_up([error | _] = errors),
    do: {error.kind, error.message, error.details, length(errors)}

  defp started(box, ticket) do
    facts = %{cause: {:planned, :worker_process}, alone: false, oom: false, box: box}

    case Settlement.sort([ticket], facts) do
      %{unstarted: [_]} -> []
      %{culprits: [{_, error}]} -> [error]
      %{victims: [{_, error}]} -> [error]
    end
  end

  @doc "Those who wait for an answer that is not there yet."
  @spec ask_later(t, GenServer.from(), Ticket.t()) :: t
  def ask_later(inquest, from, ticket) do
    %{inquest | waiting: [{from, ticket} | inquest.waiting]}
  end

  @spec close(t) :: :ok
  def close(inquest) do
    for {_pid, {_os_pid, _text, file}} <- inquest.alive, do: close_file(file)
    :ok
  end
end
