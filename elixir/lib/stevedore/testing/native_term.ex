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

  @doc "A result as it comes from a worker: an atom that it did not get is text."
  @spec from_worker(term, args :: term) :: term
  def from_worker(value, args), do: text(value, atoms(args, MapSet.new([true, false, nil])))

  defp text(atom, known) when is_atom(atom),
    do: if(atom in known, do: atom, else: Atom.to_string(atom))

  defp text([head | tail], known), do: [text(head, known) | text(tail, known)]

  defp text(tuple, known) when is_tuple(tuple),
    do: tuple |> Tuple.to_list() |> text(known) |> List.to_tuple()

  defp text(map, known) when is_map(map),
    do: map |> :maps.to_list() |> text(known) |> Map.new()

  defp text(data, _known), do: data

  defp atoms(atom, known) when is_atom(atom), do: MapSet.put(known, atom)
  defp atoms([head | tail], known), do: atoms(tail, atoms(head, known))
  defp atoms(tuple, known) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> atoms(known)
  defp atoms(map, known) when is_map(map), do: map |> :maps.to_list() |> atoms(known)
  defp atoms(_data, known), do: known
end
