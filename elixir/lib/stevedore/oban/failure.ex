if Code.ensure_loaded?(Oban.Worker) do
  defmodule Stevedore.Oban.Failure do
    @moduledoc """
    A `Stevedore.Error` as it goes into an Oban job's `errors`: short, readable, and without arguments or payloads.

    It is the reason in `{:error, reason}` and `{:cancel, reason}`, so `c:Oban.Worker.backoff/1` finds it in
    `job.unsaved_error.reason.reason`. What Oban writes into the row is

        ** (Oban.PerformError) MyApp.Thumbnail failed with {:error, #Stevedore<crashed: SIGSEGV at 0x0 in decode (thumb.so), op thumb.make, after 132 µs
          decode+0x7 (thumb.so)
          run_make+0x1ff (thumb.so)
        op thumb.make, pool MyApp.Native, native job 4711>}

    ## Fields

      * `kind`, `op`, `pool`: as in `Stevedore.Error`
      * `code`: of a `:failed`, the op's own short name for it, or `nil`
      * `message`: at most 500 characters
      * `frames`: at most 8 of the native backtrace (or of the stack of a job that would not stop), as texts
      * `clock`: which clock was over, if one was, such as `"stall_timeout"`
      * `job`: the native job's id, which the worker's logs name
      * `note`: what this library has to add, or `nil`
    """

    alias Stevedore.Error

    @longest_message 500
    @longest_frame 120
    @frames 8

    defexception [:kind, :op, :pool, :code, :message, :clock, :job, :note, frames: []]

    @type t :: %__MODULE__{
            kind: Error.kind(),
            op: String.t() | nil,
            pool: term,
            code: String.t() | nil,
            message: String.t(),
            frames: [String.t()],
            clock: String.t() | nil,
            job: non_neg_integer | nil,
            note: String.t() | nil
          }

    @doc "What is worth keeping of an error of the native job with that id."
    @spec new(Error.t(), job :: non_neg_integer | nil, note :: String.t() | nil) :: t
    def new(%Error{details: details} = error, job \\ nil, note \\ nil) do
      %__MODULE__{
        kind: error.kind,
        op: error.op,
        pool: error.pool,
        code: text(details["code"], @longest_frame),
        message: text(error.message, @longest_message),
        frames: frames(details["backtrace"] || details["stack"]),
        clock: text(details["clock"], @longest_frame),
        job: job,
        note: note
      }
    end

    @impl true
    def message(%__MODULE__{} = failure) do
      frames = Enum.map(failure.frames, &"\n  #{&1}")
      "#{failure.kind}: #{failure.message}#{frames}\n#{where(failure)}"
    end

    defp where(failure) do
      [
        "op #{failure.op}",
        "pool #{inspect(failure.pool)}",
        failure.job && "native job #{failure.job}",
        failure.code && "code #{failure.code}",
        failure.note
      ]
      |> Enum.filter(& &1)
      |> Enum.join(", ")
    end

    defp frames(frames) when is_list(frames) do
      for frame <- Enum.take(frames, @frames), is_binary(frame), do: text(frame, @longest_frame)
    end

    defp frames(_none), do: []

    # Oban stores JSON in PostgreSQL: bytes that are no UTF-8, or a NUL, would keep the job from ever being stored.
    defp text(nil, _longest), do: nil

    defp text(text, longest) when is_binary(text) do
      text = text |> String.replace_invalid("?") |> String.replace(~r/[[:cntrl:]]/u, " ")
      if String.length(text) > longest, do: String.slice(text, 0, longest - 1) <> "…", else: text
    end

    defp text(other, longest), do: text(inspect(other), longest)
  end

  defimpl Inspect, for: Stevedore.Oban.Failure do
    def inspect(failure, _options), do: "#Stevedore<#{Exception.message(failure)}>"
  end
end
