defmodule Stevedore.Testing.NativeTerm do
  @moduledoc false
  # What a term becomes on its way to a worker and back (PROTOCOL §9). Pure.

  @doc "What in a term cannot be sent, if there is such a thing."
  @spec forbidden(term) :: String.t() | nil
  def forbidden(term) when is_pid(term), do: "a pid"
  def forbidden(term) when is_reference(term), do: "a reference"
  def forbidden(term) when is_port(term), do: "a port"
  def forbidden(term) when is_function(term), do: "a function"
  def forbidden([head | tail]), do: forbidden(head) || forbidden(tail)
  def forbidden(tuple) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> forbidden()
  def forbidden(map) when is_map(map), do: map |> :maps.to_list() |> forbidden()
  def forbidden(_data), do: nil

  @doc """
  A result as it comes from a worker, which makes no atoms but `true`, `false` and `nil`. (It may hand on those that it was
  sent; whether a function does that or makes its own cannot be told.)
  """
  @spec from_worker(term) :: term
  def from_worker(atom) when atom in [true, false, nil], do: atom
  def from_worker(atom) when is_atom(atom), do: Atom.to_string(atom)
  def from_worker([head | tail]), do: [from_worker(head) | from_worker(tail)]

  def from_worker(tuple) when is_tuple(tuple),
    do: tuple |> Tuple.to_list() |> from_worker() |> List.to_tuple()

  def from_worker(map) when is_map(map),
    do: map |> :maps.to_list() |> from_worker() |> Map.new()

  def from_worker(data), do: data
end
