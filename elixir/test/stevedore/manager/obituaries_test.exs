defmodule Stevedore.Manager.ObituariesTest do
  use ExUnit.Case, async: true

  alias Stevedore.Manager.Obituaries

  defp death(at, cause) do
    %{at: at, worker: self(), os_pid: nil, cause: cause, text: "#{cause}", crash: nil}
  end

  test "any sequence of deaths: all are counted, the last ones are there, newest first" do
    for _ <- 1..200 do
      causes = for _ <- 1..:rand.uniform(100), do: Enum.random([:crash, :kill, :boot])
      deaths = for {cause, at} <- Enum.with_index(causes), do: death(at, cause)
      obituaries = Enum.reduce(deaths, %Obituaries{}, &Obituaries.add(&2, &1))
      assert obituaries.counts == Enum.frequencies(causes)
      assert obituaries.recent == deaths |> Enum.reverse() |> Enum.take(Obituaries.most())
    end
  end

  test "a crash, in words" do
    frame = %{function: "f", module: "m.so", offset: 16, pc: 1}

    crash = %{
      signal: "SIGSEGV",
      code: 1,
      sender: nil,
      address: 0xAB,
      thread: 0,
      id: 7,
      op: "o",
      ran_us: 3,
      complete: true,
      frames: [frame]
    }

    assert Obituaries.crash(crash) == %{
             op: "o",
             id: 7,
             signal: "SIGSEGV",
             address: "0xab",
             backtrace: ["f+0x10 (m.so)"],
             ran_us: 3
           }

    assert %{signal: nil, address: nil} = Obituaries.crash(%{crash | signal: nil})
    assert Obituaries.crash(nil) == nil
  end
end
