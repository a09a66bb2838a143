# The checker against the BEAM: what it says of a term must agree with binary_to_term (PROTOCOL §9.1).
#
#     [SEED=n] [COUNT=n] elixir tests/differential/differential.exs CHECK_TOOL
#
# Random terms of every kind, in every encoding that a sender may choose, half of them damaged. For each:
#   - accepted by us: the BEAM accepts it too, uses all of it, and reads an equal term from what the C writer makes of it;
#   - accepted, but for a key that is in a map twice: the BEAM refuses it;
#   - broken, we say: the BEAM refuses it;
#   - refused by us but accepted by the BEAM: for one of the reasons we refuse on purpose.

defmodule Differential.Terms do
  @moduledoc "Random terms as bytes, the leading 131 included."

  @names ~w(a ok nil true false call é 漢字 🚢)a

  def generate, do: <<131, term(:rand.uniform(5))::binary>>

  # Every choice of the External Term Format is taken by hand: term_to_binary/1 has only one encoding for each term.
  defp term(0), do: pick(leaves()).()
  defp term(depth), do: pick(leaves() ++ nodes(depth) ++ nodes(depth)).()

  defp leaves,
    do: [
      &integer/0,
      &integer/0,
      &float/0,
      &atom/0,
      &binary/0,
      &bitstring/0,
      &string/0,
      &from_beam/0,
      &refused/0
    ]

  defp nodes(depth),
    do: Enum.map([&tuple/1, &list/1, &map/1], fn make -> fn -> make.(depth - 1) end end)

  defp integer do
    size = pick([1, 2, 4, 8, 9, 20, 255])
    digits = :rand.bytes(size)

    pick([
      <<97, :rand.uniform(256) - 1>>,
      <<98, :rand.bytes(4)::binary>>,
      <<110, size, pick([0, 1, 1, 0, 2]), digits::binary>>,
      <<110, size, 0, binary_part(digits, 0, size - 1)::binary, 0>>,
      <<111, size::32, pick([0, 1]), digits::binary>>,
      <<110, 0, 0>>,
      beam(pick([1, -1]) * Integer.pow(2, :rand.uniform(80)) - pick([0, 1]))
    ])
  end

  defp float,
    do:
      pick([
        <<70, :rand.bytes(8)::binary>>,
        <<70, 1.5::float>>,
        <<70, 0::64>>,
        <<70, 0x8000000000000000::64>>,
        <<70, 0x7FF0::16, 0::48>>
      ])

  defp atom do
    name = pick(@names) |> Atom.to_string()

    pick([
      <<119, byte_size(name), name::binary>>,
      <<118, byte_size(name)::16, name::binary>>,
      <<115, 2, pick(~c"aé"), pick(~c"bÿ")>>,
      <<100, 2::16, pick(~c"aé"), pick(~c"bÿ")>>,
      <<118, 510::16, String.duplicate("é", 255)::binary>>,
      <<118, 512::16, String.duplicate("é", 256)::binary>>
    ])
  end

  defp binary, do: random_bytes() |> then(&<<109, byte_size(&1)::32, &1::binary>>)

  defp bitstring,
    do:
      random_bytes()
      |> then(&<<77, byte_size(&1)::32, pick([1, 2, 5, 7, 8, 8, 0, 9]), &1::binary>>)

  defp string, do: random_bytes() |> then(&<<107, byte_size(&1)::16, &1::binary>>)

  defp random_bytes, do: :rand.bytes(pick([0, 1, 2, 3, 7, 64, 65, 300]))

  defp tuple(depth) do
    {count, terms} = terms(depth, 1)
    pick([<<104, count, terms::binary>>, <<105, count::32, terms::binary>>])
  end

  defp list(depth) do
    {count, terms} = terms(depth, 1)

    tail =
      pick([fn -> <<106>> end, fn -> <<106>> end, fn -> <<106>> end, fn -> term(depth) end]).()

    <<108, count::32, terms::binary, tail::binary>>
  end

  defp map(depth) do
    {count, terms} = terms(depth, 2)
    <<116, count::32, terms::binary>>
  end

  defp terms(depth, each) do
    count = pick([0, 1, 2, 3, 4])
    {count, for(_ <- 1..(count * each)//1, into: <<>>, do: term(depth))}
  end

  # As term_to_binary/2 encodes it.
  defp from_beam do
    value =
      pick([
        0,
        -1,
        1.0e300,
        :ok,
        "text",
        <<5::3>>,
        [1, 2 | 3],
        ~c"abc",
        {},
        %{1 => 2, :a => [], "b" => %{}},
        [[[[]]]],
        Map.new(1..40, &{&1, &1})
      ])

    beam(value)
  end

  defp beam(value), do: value |> :erlang.term_to_binary(minor_version: pick([1, 2])) |> tail()

  # What we refuse and the BEAM accepts.
  defp refused do
    case :rand.uniform(60) do
      1 -> tail(:erlang.term_to_binary(self()))
      2 -> tail(:erlang.term_to_binary(make_ref()))
      3 -> tail(:erlang.term_to_binary(&Enum.map/2))
      4 -> tail(:erlang.term_to_binary(&is_nil/1))
      5 -> tail(:erlang.term_to_binary(1.5, minor_version: 0))
      6 -> tail(:erlang.term_to_binary(hd(:erlang.ports())))
      7 -> tail(:erlang.term_to_binary(List.duplicate("compress", 50), [:compressed]))
      8 -> tail(:erlang.term_to_binary({:a, self()}, [:local]))
      9 -> <<:rand.uniform(256) - 1>>
      _ -> binary()
    end
  end

  defp tail(<<131, rest::binary>>), do: rest

  def pick(list), do: Enum.at(list, :rand.uniform(length(list)) - 1)
end

defmodule Differential.Damage do
  @moduledoc "What happens to bytes on their way."

  import Differential.Terms, only: [pick: 1]

  def damage(bytes, other) do
    Enum.reduce(1..pick([1, 1, 1, 2, 4]), bytes, fn _, bytes ->
      pick([&flip/2, &flip/2, &set/2, &truncate/2, &extend/2, &splice/2, &repeat/2]).(
        bytes,
        other
      )
    end)
  end

  defp flip(bytes, _), do: change(bytes, &Bitwise.bxor(&1, Bitwise.bsl(1, :rand.uniform(8) - 1)))

  defp set(bytes, _),
    do:
      change(bytes, fn _ ->
        pick([
          0,
          1,
          2,
          4,
          8,
          9,
          97,
          104,
          106,
          107,
          108,
          109,
          77,
          110,
          116,
          119,
          127,
          128,
          131,
          255
        ])
      end)

  defp change(bytes, change) when byte_size(bytes) < 2, do: bytes <> <<change.(0)>>

  defp change(bytes, change) do
    at = :rand.uniform(byte_size(bytes) - 1)
    <<before::binary-size(at), byte, rest::binary>> = bytes
    <<before::binary, change.(byte), rest::binary>>
  end

  defp truncate(bytes, _), do: binary_part(bytes, 0, :rand.uniform(byte_size(bytes) + 1) - 1)

  defp extend(bytes, _), do: bytes <> :rand.bytes(pick([1, 1, 2, 5]))

  defp splice(bytes, other) do
    at = :rand.uniform(byte_size(bytes) + 1) - 1
    from = :rand.uniform(byte_size(other) + 1) - 1
    binary_part(bytes, 0, at) <> binary_part(other, from, byte_size(other) - from)
  end

  defp repeat(bytes, _) do
    at = :rand.uniform(byte_size(bytes) + 1) - 1
    size = min(byte_size(bytes) - at, pick([1, 2, 5, 9]))
    <<before::binary-size(at), part::binary-size(size), rest::binary>> = bytes
    before <> :binary.copy(part, pick([2, 3, 200])) <> rest
  end
end

defmodule Differential.Judge do
  @moduledoc "What the C side and the BEAM say, and whether they agree."

  # Texts in the reasons for which we refuse what the BEAM accepts (PROTOCOL §8, §9.1, §10).
  @on_purpose [
    "a pid",
    "a port",
    "a reference",
    "a fun",
    "compressed",
    "local format",
    "float as text",
    "a record",
    "bytes after the term",
    "nested too deeply",
    "too many terms",
    "4096 bytes",
    "sign of an integer",
    "bitstring without"
  ]

  @doc "The C side's answers, in order: {verdict, bytes}."
  def ask(tool, terms) do
    directory = Path.join(System.tmp_dir!(), "differential-#{System.pid()}")
    File.mkdir_p!(directory)
    [input, output] = Enum.map(["in", "out"], &Path.join(directory, &1))
    File.write!(input, Enum.map(terms, &[<<byte_size(&1)::32>>, &1]))
    {said, status} = System.shell("'#{tool}' < '#{input}' > '#{output}'", stderr_to_stdout: true)
    answers = output |> File.read!() |> split([])
    File.rm_rf!(directory)

    if status != 0 or length(answers) != length(terms) do
      culprit = Enum.at(terms, length(answers))

      raise "check_tool ended with #{status} at #{inspect(culprit, limit: :infinity)}\n#{said}"
    end

    answers
  end

  defp split(<<verdict, size::32, bytes::binary-size(size), rest::binary>>, answers),
    do: split(rest, [{<<verdict>>, bytes} | answers])

  defp split(<<>>, answers), do: Enum.reverse(answers)

  @doc ":ok, or what is wrong."
  def compare(bytes, {verdict, said}) do
    with problem when problem != :ok <- agree(verdict, said, beam(bytes), byte_size(bytes)) do
      if internal_atom?(bytes, said), do: :ok, else: problem
    end
  end

  # binary_to_term/1 of OTP 27 takes tags 73 and 75, which the BEAM uses for atoms in its own tables: 2 or 3 bytes
  # that index its atom table. No encoder sends them, and they mean nothing outside of one VM.
  defp internal_atom?(bytes, said) do
    said =~ "unknown tag" and :binary.match(bytes, [<<73>>, <<75>>]) != :nomatch
  end

  defp beam(bytes) do
    :erlang.binary_to_term(bytes, [:used])
  rescue
    ArgumentError -> :refused
  end

  defp agree("o", said, {term, used}, used), do: same(beam(said), {term}, byte_size(said))
  defp agree("o", _said, beam, _size), do: {:accepted_but_not_by_the_beam, beam}
  defp agree("d", _said, :refused, _size), do: :ok
  defp agree("d", said, beam, _size), do: {:no_key_is_there_twice, said, beam}
  defp agree(verdict, _said, :refused, _size) when verdict in ["r", "b"], do: :ok
  defp agree("b", said, beam, _size), do: {:not_broken, said, beam}

  defp agree("r", said, beam, _size) do
    if Enum.any?(@on_purpose, &String.contains?(said, &1)),
      do: :ok,
      else: {:refused_without_need, said, beam}
  end

  defp same({written, size}, term, size) when written === term, do: :ok
  defp same(written, term, _size), do: {:written_back_differently, written, term}
end

defmodule Differential do
  @moduledoc false

  @chunk 10_000
  # binary_to_term makes atoms of whatever names the damage made; they are never freed.
  @most_atoms 900_000

  def main([tool]) do
    seed = System.get_env("SEED", "#{:os.system_time(:second)}") |> String.to_integer()
    count = System.get_env("COUNT", "200000") |> String.to_integer()
    IO.puts("SEED=#{seed} COUNT=#{count}")
    :rand.seed(:exsss, seed)
    tallies = for _ <- 1..div(count + @chunk - 1, @chunk), do: chunk(tool)
    tally = Enum.reduce(tallies, &Map.merge(&1, &2, fn _, a, b -> a + b end))

    IO.puts(
      "#{count} terms, no disagreement: #{tally["o"]} accepted, #{tally["d"]} with a key twice, " <>
        "#{tally["r"]} refused, #{tally["b"]} broken"
    )
  end

  defp chunk(tool) do
    whole = for _ <- 1..div(@chunk, 2), do: Differential.Terms.generate()
    damaged = Enum.zip_with(whole, Enum.reverse(whole), &Differential.Damage.damage/2)
    terms = whole ++ damaged
    answers = Differential.Judge.ask(tool, terms)
    Enum.zip_with(terms, answers, &judge/2)

    if :erlang.system_info(:atom_count) > @most_atoms,
      do: raise("too many atoms: use a smaller COUNT, several times")

    Enum.frequencies_by(answers, &elem(&1, 0))
  end

  defp judge(bytes, answer) do
    with problem when problem != :ok <- Differential.Judge.compare(bytes, answer) do
      IO.puts(
        :stderr,
        "disagreement on #{inspect(bytes, limit: :infinity)}\n  #{inspect(problem, limit: 100)}"
      )

      System.halt(1)
    end
  end
end

Differential.main(System.argv())
