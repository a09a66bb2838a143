defmodule Stevedore.Behaviour do
  @moduledoc """
  The functions of `Stevedore` that an application calls, as a behaviour: `Stevedore` implements it, and so may a mock.

      # config/config.exs
      config :my_app, native: Stevedore

      # config/test.exs
      config :my_app, native: MyApp.NativeMock

      # test/test_helper.exs
      Mox.defmock(MyApp.NativeMock, for: Stevedore.Behaviour)

      # where it is used
      defmodule MyApp.Digest do
        @native Application.compile_env!(:my_app, :native)

        def sha256(data), do: @native.call(MyApp.Native, "digest", %{algorithm: "sha256", data: data})
      end

  A mock says nothing of whether the arguments could be encoded, nor of how results come back: `Stevedore.Testing.stub/2` and
  `Stevedore.Testing.start_pool!/1` do. See `docs/guides/testing.md`.
  """

  alias Stevedore.Job

  @type pool :: Stevedore.pool()
  @type op :: Stevedore.op()
  @type result :: Stevedore.result()

  @callback call(pool, op, args :: term) :: result
  @callback call(pool, op, args :: term, options :: keyword) :: result
  @callback call!(pool, op, args :: term) :: term
  @callback call!(pool, op, args :: term, options :: keyword) :: term

  @callback async(pool, op, args :: term) :: Job.t()
  @callback async(pool, op, args :: term, options :: keyword) :: Job.t()
  @callback await(Job.t()) :: result
  @callback await!(Job.t()) :: term
  @callback yield(Job.t()) :: result | nil
  @callback yield(Job.t(), timeout) :: result | nil
  @callback cancel(Job.t()) :: :ok

  @callback async_stream(pool, Enumerable.t(), op, (term -> term)) :: Enumerable.t()
  @callback async_stream(pool, Enumerable.t(), op, (term -> term), options :: keyword) ::
              Enumerable.t()

  @callback stats(pool) :: {:ok, map} | {:error, Stevedore.Error.t()}
  @callback ops(pool) :: {:ok, [map]} | {:error, Stevedore.Error.t()}
  @callback info(pool) :: %{name: atom, workers: [map]}
end
