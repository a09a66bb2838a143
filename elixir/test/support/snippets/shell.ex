defmodule Stevedore.Snippets.Shell do
  @moduledoc false
  # Runs the shell blocks of a page, and checks its C.

  alias Stevedore.Snippets.Page

  @mark "--8<-- said so far --8<--"

  # What one block leaves to the next: exported variables and the directory.
  @state ".stevedore-shell"

  @doc "Runs a block in the page's directory `home` and compares what its comments say."
  @spec run!(Page.block(), Path.t(), String.t()) :: :ok
  def run!(block, home, page) do
    {script, expected} = block.code |> String.split("\n") |> script([], [], [])
    state = Path.join(home, @state)
    before = if File.exists?(state), do: ". '#{state}'\n", else: ""
    after_it = "\nexport -p >'#{state}'; printf 'cd %q\\n' \"$PWD\" >>'#{state}'\n"

    {output, status} =
      System.cmd("bash", ["-c", "set -eu -o pipefail\n" <> before <> script <> after_it],
        cd: home,
        stderr_to_stdout: true
      )

    where = "#{page}:#{block.line}"
    status == 0 || raise "#{where}: exit code #{status}\n\n#{output}"
    [output |> String.split(@mark), expected] |> Enum.zip() |> Enum.each(&compare!(&1, where))
  end

  # Wherever the page says what is printed, a mark is.
  defp script([], lines, _said, expected), do: {joined(lines), Enum.reverse(expected)}

  defp script(["#=>" <> _ | _] = rest, lines, [], expected) do
    {said, rest} = Enum.split_while(rest, &String.starts_with?(&1, "#=>"))
    said = Enum.map_join(said, "\n", &String.trim_leading(&1, "#=>"))
    script(rest, ["echo '#{@mark}'" | lines], [], [said | expected])
  end

  defp script([line | rest], lines, said, expected),
    do: script(rest, [line | lines], said, expected)

  defp joined(lines), do: lines |> Enum.reverse() |> Enum.join("\n")

  defp compare!({output, expected}, where) do
    Page.matches?(expected, output) ||
      raise "#{where}: the page says\n\n#{expected}\n\nand this was printed:\n\n#{output}"
  end

  @flags ~w(-std=c11 -D_GNU_SOURCE -fsyntax-only -Wall -Wextra -Werror -Wno-unused-variable -Wno-unused-function
    -Wno-unused-but-set-variable -Wno-unused-const-variable -x c -Iport/include)

  @doc "Compiles a fragment: what stands at a file's top level as it is, all else as the body of an op."
  @spec check_c!(Page.block(), Path.t(), String.t()) :: :ok
  def check_c!(block, home, page) do
    file = Path.join(home, ".stevedore-fragment.c")

    File.write!(file, "#include <stevedore.h>\n" <> in_context(block.code))

    {output, status} = System.cmd("cc", @flags ++ [file], cd: home, stderr_to_stdout: true)
    status == 0 || raise "#{page}:#{block.line}: does not compile:\n\n#{output}"
    :ok
  end

  # `ops` is the table that a fragment with STV_PLUGIN leaves out.
  defp in_context(code) do
    cond do
      code =~ "STV_PLUGIN" and not (code =~ "ops[]") ->
        "static const struct stv_op ops[1];\n" <> code

      code =~ ~r/^(static|#include|STV_PLUGIN)/m ->
        code

      true ->
        "enum stv_status run(struct stv_job *job) {\n(void)job;\n#{code}\nreturn STV_OK;\n}\n"
    end
  end
end
