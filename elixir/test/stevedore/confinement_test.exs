defmodule Stevedore.ConfinementTest do
  use ExUnit.Case, async: true

  alias Stevedore.{Confinement, PoolCase}

  @all [
    seccomp: :strict,
    landlock: [read: ["/srv/in", "/etc/hosts"], write: ["/srv/out"]],
    memory: 268_435_456,
    address_space: 1_073_741_824,
    cpu: 3600,
    files: 64,
    file_size: 1_048_576,
    nice: 5,
    oom_score: 700,
    require: [:seccomp, :landlock, :no_new_privs]
  ]

  test "every option becomes arguments of the worker program" do
    assert Confinement.validate!(@all) == @all

    assert Confinement.args(@all) ==
             ~w[--seccomp strict --landlock-read /srv/in --landlock-read /etc/hosts] ++
               ~w[--landlock-write /srv/out --limit-memory 268435456] ++
               ~w[--limit-address-space 1073741824 --limit-cpu 3600 --limit-files 64] ++
               ~w[--limit-file-size 1048576 --nice 5 --oom-score-adj 700] ++
               ~w[--require seccomp,landlock,no_new_privs]
  end

  test "the worker program knows every option and every measure" do
    {help, 0} = System.cmd(PoolCase.program(), ["help", "confinement"])

    for "--" <> _ = option <- Confinement.args(@all) ++ Confinement.args(landlock: :none) do
      assert help =~ option
    end

    for name <- Keyword.keys(@all) -- [:require], do: assert(help =~ to_string(name))
  end

  test "nothing asked for is no argument" do
    assert Confinement.args(Confinement.validate!([])) == []
    assert Confinement.args(Confinement.validate!(require: [])) == []
  end

  test "no path is no path, however it is said" do
    for landlock <- [:none, [], [read: []], [read: [], write: []]] do
      assert Confinement.args(Confinement.validate!(landlock: landlock)) == ["--landlock-none"]
    end
  end

  test "paths are expanded" do
    path = Path.expand("priv/models")

    assert Confinement.args(landlock: [read: ["priv/models", "/a/../b"]]) ==
             ["--landlock-read", path, "--landlock-read", "/b"]
  end

  test "a wrong option is an ArgumentError that names key and value" do
    for {key, value} <- [
          seccomp: :harsh,
          seccomp: "strict",
          landlock: "/srv",
          landlock: ["/srv"],
          landlock: [read: "/srv"],
          landlock: [read: [""]],
          landlock: [read: ["/a\0b"]],
          landlock: [execute: ["/bin"]],
          landlock: [read: List.duplicate("/srv", 40), write: List.duplicate("/srv", 25)],
          memory: 0,
          memory: "1G",
          address_space: 1.0,
          cpu: 0,
          files: 31,
          file_size: -1,
          nice: 20,
          nice: -1,
          oom_score: 1001,
          require: :seccomp,
          require: [:sandbox]
        ] do
      error = assert_raise ArgumentError, fn -> Confinement.validate!([{key, value}]) end
      assert error.message =~ inspect(key)
      assert error.message =~ inspect(value)
    end
  end

  test "an unknown option is named" do
    assert_raise ArgumentError, ~r/unknown confine option :sandbox \(value: true\)/, fn ->
      Confinement.validate!(sandbox: true)
    end
  end

  test "it must be a keyword list" do
    for value <- [:strict, %{seccomp: :strict}, [:seccomp], nil] do
      error = assert_raise ArgumentError, fn -> Confinement.validate!(value) end
      assert error.message =~ ":confine"
      assert error.message =~ inspect(value)
    end
  end

  test "what is required must be asked for" do
    assert Confinement.validate!(require: [:oom_score, :no_new_privs])

    for options <- [
          [require: [:landlock]],
          [require: [:seccomp, :landlock], seccomp: :basic],
          [oom_score: 0, require: [:oom_score]],
          [nice: 0, require: [:nice]]
        ] do
      assert_raise ArgumentError, ~r/nothing asks for it/, fn ->
        Confinement.validate!(options)
      end
    end
  end

  test "the docs have every option" do
    for key <- Keyword.keys(@all), do: assert(Confinement.docs() =~ "* `:#{key}` (")
  end
end
