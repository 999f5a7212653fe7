"""Tracing: on where it is asked for, silent about what nobody is to know, and nothing otherwise."""

import subprocess
import sys
from collections.abc import Mapping

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import DEFAULT_ON
from structlog.testing import capture_logs

from worker import tracing
from worker.spans import Discreet, Quiet

API = "https://services.uplynk.com/api2/"
FILE = "https://user:hunter2@cdn.example/slices/hunter2.mp4?token=hunter2"


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({}, None),
        ({"OTEL_SERVICE_NAME": "x"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, "otlp_proto_http"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x"}, "otlp_proto_http"),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "otlp_proto_http"),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "otlp_proto_grpc",
        ),
        ({"OTEL_TRACES_EXPORTER": "console"}, "console"),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, None),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, None),
    ],
)
def test_the_variables_of_opentelemetry_say_whether_it_is_on(
    variables: Mapping[str, str], name: str | None
) -> None:
    assert tracing.exporter(variables) == name


def test_an_exporter_that_is_not_there_stops_no_worker() -> None:
    with capture_logs() as logs:
        tracing.start({"OTEL_TRACES_EXPORTER": "pigeon"}, api_url=API, dropped=())
    assert [line["event"] for line in logs] == ["no traces: no such exporter"]
    assert tracing.current() is None
    tracing.stop()


@pytest.mark.parametrize(
    "lacking",
    [
        "opentelemetry",
        "opentelemetry.sdk",
        "opentelemetry.instrumentation.celery",
        "opentelemetry.exporter.otlp.proto.http",
    ],
)
def test_without_the_extra_nothing_is_imported_and_nothing_fails(lacking: str) -> None:
    code = f"""
import sys
from worker import tracing
assert "opentelemetry" not in sys.modules
sys.modules["{lacking}"] = None
tracing.start({{"OTEL_TRACES_EXPORTER": "otlp"}}, api_url="", dropped=())
assert tracing.current() is None
tracing.trouble("x")
with tracing.apart():
    print("went on")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert "went on" in done.stdout, done.stderr
    assert "no traces: the extra is not installed" in done.stdout + done.stderr


def told(url: str) -> ReadableSpan:
    """Return what is handed on of a request that failed, as the instrumentation records it."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Discreet(exporter, API))
    tracer = provider.get_tracer("opentelemetry.instrumentation.requests")
    with (
        pytest.raises(ConnectionError),
        tracer.start_as_current_span("GET", attributes={"http.url": url, "http.method": "GET"}),
    ):
        raise ConnectionError(f"no way to {url}")
    provider.shutdown()
    (span,) = exporter.get_finished_spans()
    return span


def test_a_span_shows_no_more_of_a_url_than_its_host() -> None:
    span = told(FILE)
    assert "hunter2" not in span.to_json()
    assert dict(span.attributes or {}) == {"http.url": "https://cdn.example", "http.method": "GET"}
    assert [dict(event.attributes or {}) for event in span.events] == [
        {"exception.type": "ConnectionError"}
    ]
    assert not span.status.is_ok


def test_a_call_to_uplynk_is_told_by_its_path() -> None:
    attributes = told(f"{API}cloudslicer/jobs/get?msg=hunter2").attributes or {}
    assert attributes["http.url"] == f"{API}cloudslicer/jobs/get"


def test_what_is_only_a_wake_up_is_not_recorded() -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.sampler = Quiet(DEFAULT_ON, {"run/exports.sweep"})
    tracer = provider.get_tracer("test")
    with tracer.start_as_current_span("run/exports.sweep") as sweep:
        assert not sweep.is_recording()
        with tracer.start_as_current_span("POST") as call:
            assert not call.is_recording()
    with tracer.start_as_current_span("run/exports.create") as create:
        assert create.is_recording()
    provider.shutdown()
