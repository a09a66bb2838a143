defmodule Stevedore.PortTest do
  use ExUnit.Case, async: true

  # The first of the three ways in: nothing but Port.open and term_to_binary.

  import Stevedore.PoolCase, only: [program: 0]

  setup do
    {:ok, port: Port.open({:spawn_executable, program()}, [:binary, :exit_status, packet: 4])}
  end

  defp say(port, term), do: Port.command(port, :erlang.term_to_binary(term))

  defp hear(port) do
    assert_receive {^port, {:data, frame}}, 5_000
    :erlang.binary_to_term(frame, [:safe])
  end

  test "call, by hand (PROTOCOL §4.1, §5.1)", %{port: port} do
    say(port, {:call, 1, :echo, %{a: 1}})
    assert {:ok, 1, %{a: 1}, {_, _, _}} = hear(port)
  end

  test "an error, by hand (PROTOCOL §5.2)", %{port: port} do
    say(port, {"call", 2, "nope", nil, %{"timeout" => 5}})
    assert {:error, 2, :unknown_op, %{"message" => _, "op" => "nope"}, {_, _, _}} = hear(port)
  end

  test "stop: bye, and exit code 0 (PROTOCOL §4.3)", %{port: port} do
    say(port, {:stop})
    assert {:bye, :stop} = hear(port)
    assert_receive {^port, {:exit_status, 0}}, 5_000
  end
end
