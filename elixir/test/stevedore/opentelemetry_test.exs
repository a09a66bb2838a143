if Code.ensure_loaded?(:otel_ctx) and Code.ensure_loaded?(:otel_batch_processor) do
  defmodule Stevedore.OpenTelemetryTest do
    # With the SDK, which there is one of in the VM.
    use Stevedore.PoolCase, async: false

    @moduletag :opentelemetry

    require OpenTelemetry.Tracer, as: Tracer
    require Record

    @span Record.extract(:span, from_lib: "opentelemetry/include/otel_span.hrl")
    Record.defrecordp(:span, @span)

    setup_all do
      :ok = Application.stop(:opentelemetry)
      processor = {:otel_simple_processor, %{exporter: {:otel_exporter_pid, self()}}}
      :ok = Application.put_env(:opentelemetry, :processors, [processor])
      :ok = Application.start(:opentelemetry)
      id = make_ref()
      events = [[:stevedore, :job, :stop], [:stevedore, :job, :exception]]
      :ok = :telemetry.attach_many(id, events, &__MODULE__.handle/4, nil)
      on_exit(fn -> :telemetry.detach(id) end)
    end

    setup do
      # It is told to whom when it is started.
      :otel_simple_processor.set_exporter(:otel_exporter_pid, self())
      :ok
    end

    # As in the docs of Stevedore.Telemetry.
    def handle([:stevedore, :job, end_event], measurements, metadata, _config)
        when end_event in [:stop, :exception] do
      parent = metadata.context || %{}
      tracer = :opentelemetry.get_tracer(:stevedore)
      name = "stevedore " <> metadata.op
      start_time = measurements.monotonic_time - measurements.duration
      start = %{start_time: start_time, kind: :client, attributes: %{}}
      span = :otel_tracer.start_span(parent, tracer, name, start)

      if end_event == :exception,
        do: :otel_span.set_status(span, :error, Exception.message(metadata.reason))

      :otel_span.end_span(span)
    end

    test "the span of a job is a child of its caller's, in whatever process it is made" do
      pool = start_pool!()

      Tracer.with_span "request" do
        {:ok, 1} = Stevedore.call(pool, "echo", 1)
      end

      assert_receive {:span, span(name: "stevedore echo") = job}
      assert_receive {:span, span(name: "request") = request}
      assert span(job, :parent_span_id) == span(request, :span_id)
      assert span(job, :trace_id) == span(request, :trace_id)
      assert span(job, :start_time) >= span(request, :start_time)
      assert span(job, :end_time) <= span(request, :end_time)

      # A caller that dies: the worker's process makes the span.
      {_pid, monitor} =
        spawn_monitor(fn ->
          Tracer.with_span "orphaned" do
            Stevedore.async(pool, "sleep", %{ms: 60_000})
          end
        end)

      assert_receive {:DOWN, ^monitor, _, _, _}
      assert_receive {:span, span(name: "stevedore sleep") = job}
      assert_receive {:span, span(name: "orphaned") = caller}
      assert span(job, :parent_span_id) == span(caller, :span_id)
      assert {:status, :error, "cancelled: its caller died" <> _} = span(job, :status)
    end

    test "the option goes before; without a context there is no parent" do
      pool = start_pool!()
      {:ok, 1} = Stevedore.call(pool, "echo", 1)
      assert_receive {:span, span(name: "stevedore echo", parent_span_id: :undefined)}

      Tracer.with_span "request" do
        {:ok, 1} = Stevedore.call(pool, "echo", 1, context: nil)
      end

      assert_receive {:span, span(name: "stevedore echo", parent_span_id: :undefined)}
    end
  end
end
