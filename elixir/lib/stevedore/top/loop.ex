defmodule Stevedore.Top.Loop do
  @moduledoc false
  # The thin part of `mix stevedore.top`: one process takes samples, one reads keys, and this one draws what the view
  # makes of them. Without a terminal it prints lines.

  alias Stevedore.Top.{Sample, Terminal, View}

  @type options :: %{interval: pos_integer, count: pos_integer | :infinity, plain: boolean}

  @doc "Runs until it is told to quit, or `count` samples have been shown."
  @spec run(node, options) :: :ok
  def run(node, options) do
    view = %View{interval: options.interval}

    case if(options.plain, do: :none, else: Terminal.open()) do
      {:ok, terminal} -> run_in(terminal, node, view, options.count)
      :none -> print(node, view, options.count)
    end
  end

  ## In a terminal

  defp run_in(terminal, node, view, count) do
    _sampler = spawn_sampler(node)
    _keys = spawn_keys()
    draw(terminal, view, count)
  after
    Terminal.close(terminal)
  end

  defp draw(terminal, view, count) do
    terminal = Terminal.resized(terminal)
    view = %{view | width: terminal.width, height: terminal.height}
    :ok = Terminal.draw(terminal, View.screen(view))
    wait(terminal, view, count)
  end

  defp wait(%{port: port} = terminal, view, count) do
    receive do
      {:sample, from, result} ->
        send(from, {:again, view.interval})
        if count == 1, do: :ok, else: draw(terminal, View.sampled(view, result), less(count))

      {:key, key} ->
        case View.key(view, key) do
          :quit -> :ok
          view -> draw(terminal, view, count)
        end

      {^port, {:exit_status, _status}} ->
        :ok
    end
  end

  defp less(:infinity), do: :infinity
  defp less(count), do: count - 1

  # The first two samples follow each other closely: a rate takes two.
  defp spawn_sampler(node) do
    parent = self()
    spawn_link(fn -> sample(node, parent, 250) end)
  end

  defp sample(node, parent, least) do
    send(parent, {:sample, self(), Sample.take(node)})

    receive do
      {:again, interval} -> Process.sleep(min(interval, least))
    end

    sample(node, parent, 60_000)
  end

  defp spawn_keys do
    parent = self()
    spawn_link(fn -> read_keys(parent) end)
  end

  defp read_keys(parent) do
    case IO.getn("", 1) do
      key when is_binary(key) ->
        send(parent, {:key, key})
        read_keys(parent)

      _end ->
        send(parent, {:key, :eof})
    end
  end

  ## As lines

  defp print(_node, _view, 0), do: :ok

  defp print(node, view, count) do
    view = View.sampled(view, Sample.take(node))
    Enum.each(View.lines(view), &IO.puts/1)
    if count != 1, do: Process.sleep(view.interval)
    print(node, view, less(count))
  end
end
