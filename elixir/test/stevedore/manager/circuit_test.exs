defmodule Stevedore.Manager.CircuitTest do
  use ExUnit.Case, async: true

  alias Stevedore.Manager.Circuit

  @options %{circuit: 3, backoff_min: 100, backoff_max: 1_000}

  defp ended(circuit, slot, now, ready? \\ false) do
    Circuit.ended_idle(circuit, slot, ready?, now, 0.5)
  end

  test "the first end without a job is answered at once, the next ones later and later" do
    circuit = Circuit.new(@options)
    assert {0, circuit} = ended(circuit, 1, 0)
    assert {100, circuit} = ended(circuit, 1, 10)
    assert {200, circuit} = ended(circuit, 1, 200)
    assert {400, circuit} = ended(circuit, 1, 500)
    assert {800, circuit} = ended(circuit, 1, 1_000)
    assert {1_000, _circuit} = ended(circuit, 1, 2_000)
  end

  test "each slot waits for itself" do
    assert {0, circuit} = ended(Circuit.new(@options), 1, 0)
    assert {100, circuit} = ended(circuit, 1, 0)
    assert {0, _circuit} = ended(circuit, 2, 0)
  end

  test "it opens after so many ends in a row, whatever the slots" do
    {_, circuit} = ended(Circuit.new(@options), 1, 0)
    {_, circuit} = ended(circuit, 2, 0)
    assert circuit.state == :closed
    {_, circuit} = ended(circuit, 3, 0)
    assert circuit.state == :open
  end

  test "not while a worker is ready" do
    circuit = Enum.reduce(1..10, Circuit.new(@options), &elem(ended(&2, &1, 0, true), 1))
    assert circuit.state == :closed
    assert {_, %{state: :open}} = ended(circuit, 1, 0, false)
  end

  test "a worker that is ready closes it; if it ends idle too it opens again at once" do
    circuit = Enum.reduce(1..3, Circuit.new(@options), &elem(ended(&2, &1, 0), 1))
    circuit = Circuit.close(circuit)
    assert circuit.state == :closed
    assert {_, %{state: :open}} = ended(circuit, 1, 0)
  end

  test "one worker is tried: half open until it is ready, or open again if it ends" do
    circuit = Circuit.new(@options)
    assert Circuit.probe(circuit) == circuit
    open = Enum.reduce(1..3, circuit, &elem(ended(&2, &1, 0), 1))
    assert %{state: :half_open} = probed = Circuit.probe(open)
    assert Circuit.close(probed).state == :closed
    assert {_, %{state: :open}} = ended(probed, 1, 10)
    # Also after so long a boot that the ends before it are forgotten.
    assert {_, %{state: :open, failures: 1}} = ended(probed, 1, 60_000)
  end

  test "a death by a job says that the program is fine: all starts from the beginning" do
    circuit =
      Enum.reduce(1..3, Circuit.new(@options), fn _, circuit -> elem(ended(circuit, 1, 0), 1) end)

    circuit = circuit |> Circuit.close() |> Circuit.died_of_a_job(1)
    assert {0, circuit} = ended(circuit, 1, 0)
    assert circuit.state == :closed
  end

  test "a quiet spell forgets those before" do
    circuit = Enum.reduce(1..2, Circuit.new(@options), &elem(ended(&2, &1, 0), 1))
    {_, circuit} = ended(circuit, 1, 20_000)
    assert circuit.state == :closed
  end

  # Any history, with any times: what has been promised of each step holds.
  test "any sequence of ends, deaths and starts" do
    for seed <- 1..200 do
      :rand.seed(:exsss, {seed, 7, 9})
      Enum.reduce(1..100, {Circuit.new(@options), 0, 0, nil}, &step/2)
    end
  end

  defp step(_n, {circuit, now, in_a_row, last}) do
    now = now + :rand.uniform(3_000)
    slot = :rand.uniform(3)
    ready? = :rand.uniform(2) == 1

    case :rand.uniform(5) do
      5 ->
        before = circuit.state
        circuit = Circuit.probe(circuit)
        assert circuit.state == if(before == :open, do: :half_open, else: before)
        {circuit, now, in_a_row, last}

      1 ->
        circuit = Circuit.close(circuit)
        assert circuit.state == :closed
        {circuit, now, in_a_row, last}

      2 ->
        circuit = Circuit.died_of_a_job(circuit, slot)
        {circuit, now, 0, last}

      _ended ->
        before = circuit.state
        in_a_row = if last && now - last >= 10_000, do: 0, else: in_a_row
        {delay, circuit} = Circuit.ended_idle(circuit, slot, ready?, now)
        assert delay in 0..1_000
        opened? = in_a_row + 1 >= 3 and not ready?
        still = if before == :half_open, do: :open, else: before
        assert circuit.state == if(opened?, do: :open, else: still)
        {circuit, now, in_a_row + 1, now + delay}
    end
  end
end
