defmodule Stevedore.Snippets.PageTest do
  use ExUnit.Case, async: true

  alias Stevedore.Snippets.{Page, Script, Shell}

  @page """
  # A page
  <!-- page needs: kernel -->

  <!-- not run: for a reason -->
  ```sh
  false
  ```

  <!-- setup
  a = 1
  -->
  - In a list:

    <!-- needs: no_such_thing -->
    <!-- file: x.c -->
    ```c
    int x;
      int y;
    ```

  ```text
  anything
  ```
  """

  test "a page is its blocks, with their markers" do
    assert [sh, setup, c, text] = Page.parse(@page)
    assert %Page{lang: "sh", line: 5, code: "false", not_run: "for a reason"} = sh
    assert %Page{lang: "elixir", line: 9, code: "a = 1", needs: ["kernel"]} = setup
    assert %Page{file: "x.c", code: "int x;\n  int y;", needs: ["kernel", "no_such_thing"]} = c

    assert [{:not_run, _}, :run, {:missing, ["no_such_thing"]}, :text] =
             Enum.map([sh, setup, c, text], &Page.fate/1)
  end

  test "… stands for anything, and spaces for nothing" do
    assert Page.matches?("{:ok, …, [1,\n 2]}", "{:ok, %{a: \"b\"}, [1, 2]}")
    refute Page.matches?("{:ok, …, [1]}", "{:ok, 3, [1, 2]}")
    refute Page.matches?("1", "11")
  end

  describe "elixir:" do
    defp elixir!(code), do: Script.run!(block("elixir", code), Script.new(), "page")
    defp block(lang, code), do: %Page{lang: lang, line: 1, code: code}

    test "what a comment says is compared, on the same line or below" do
      elixir!("a = 1\na + 1 #=> 2\nEnum.map(\n  [1],\n  & &1\n)\n#=> [\n#=>   1]\n")

      assert_raise RuntimeError, ~r/page:3.*says\n\n 3\n/s, fn ->
        elixir!("a = 1\na + 1 #=> 3")
      end

      elixir!("[ok: 1, a: %{b: 2}] #=> [{:ok, 1}, {:a, %{:b => 2}}]")

      assert_raise RuntimeError, ~r/page:2/, fn -> elixir!("if true do\n  1\nend\n#=> 2") end
    end

    test "variables, aliases and modules stay" do
      state = elixir!("alias Map, as: M\ndefmodule Page.Kept do\n  def a, do: 1\nend\nb = 2")
      Script.run!(block("elixir", "M.new() #=> %{}\nPage.Kept.a() + b #=> 3"), state, "page")
    end

    test "a warning is an error" do
      assert_raise RuntimeError, ~r/warning: variable "a" is unused/, fn ->
        elixir!("defmodule Page.Warns do\n  def a(a), do: 1\nend")
      end
    end

    test "configuration goes into the application environment" do
      elixir!("import Config\nconfig :stevedore_page, key: 1")
      assert Application.get_env(:stevedore_page, :key) == 1
    end
  end

  describe "sh:" do
    setup do
      home = Path.join(System.tmp_dir!(), "stevedore-shell-#{System.unique_integer([:positive])}")
      File.mkdir_p!(home)
      on_exit(fn -> File.rm_rf!(home) end)
      %{home: home}
    end

    test "what was printed is compared; exports and the directory stay", %{home: home} do
      Shell.run!(block("sh", "export A=1\nmkdir d; cd d\necho a b\n#=> a …"), home, "page")
      Shell.run!(block("sh", "echo $A\n#=> 1\nbasename $PWD\n#=> d"), home, "page")

      assert_raise RuntimeError, ~r/page:1: the page says/, fn ->
        Shell.run!(block("sh", "echo a\n#=> b"), home, "page")
      end
    end

    test "a command that fails does so", %{home: home} do
      assert_raise RuntimeError, ~r/exit code 1/, fn ->
        Shell.run!(block("sh", "false\ntrue"), home, "page")
      end
    end
  end
end
