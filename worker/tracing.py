"""Tracing: what a step does is a span of its request's trace; where tracing is off, nothing.

It is on where the extra `tracing` is installed and OpenTelemetry's own variables ask for it.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import Row, select
from sqlalchemy.orm import Session, sessionmaker

from models import Export, Request
from worker.logs import get_logger

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from worker.spans import Traces

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")

_log = get_logger(__name__)
_traces: "Traces | None" = None


def exporter(environment: Mapping[str, str]) -> str | None:
    """Return the name of the exporter that the variables ask for; None: they ask for none.

    https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
    """
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    has_endpoint = any(environment.get(name) for name in _ENDPOINTS)
    name = environment.get("OTEL_TRACES_EXPORTER") or ("otlp" if has_endpoint else "none")
    if name != "otlp":
        return None if name == "none" else name
    protocol = next((said for each in _PROTOCOLS if (said := environment.get(each))), "")
    return "otlp_proto_grpc" if protocol == "grpc" else "otlp_proto_http"


def start(environment: Mapping[str, str], *, api_url: str, dropped: Collection[str]) -> None:
    """Trace what this process does from now on, if the environment asks for it.

    It must be called after a fork: what sends the spans is a thread.

    Args:
        environment: the variables.
        api_url: what URLs of calls to Uplynk begin with; their paths are told.
        dropped: names of tasks whose messages are no part of a trace.
    """
    global _traces  # noqa: PLW0603  (one a process, as OpenTelemetry's own)
    name = exporter(environment)
    if name is None or _traces is not None:
        return
    try:
        from worker.spans import Traces  # noqa: PLC0415  (only where it is asked for)

        _traces = Traces(name, api_url=api_url, dropped=dropped)
    except ImportError as error:  # all of it is lacking, or a part
        _log.warning("no traces: the extra is not installed", message=str(error))
    except LookupError as error:
        _log.error("no traces: no such exporter", message=str(error))


def stop() -> None:
    """Send what was not sent yet; nothing is traced after that."""
    global _traces  # noqa: PLW0603  (same)
    if _traces is not None:
        _traces.stop()
        _traces = None


def current() -> str | None:
    """Return what the trace is to be taken up by later: a `traceparent`, at the most 55 letters."""
    return _traces.current() if _traces else None


def apart() -> "AbstractContextManager[None]":
    """Have the messages that are sent meanwhile be no part of the present trace."""
    return _traces.apart() if _traces else nullcontext()


@contextmanager
def step(name: str, sessions: sessionmaker[Session], export: Export) -> Iterator[None]:
    """Have what is done meanwhile for `export` be a span of its first request's trace."""
    parent = None
    if _traces is not None:
        with sessions.begin() as session:
            parent = _parent(session, export.id)
    if _traces is None or parent is None:
        yield
        return
    with _traces.span(name, parent, export_id=str(export.id), asset=export.asset):
        yield


def delivery(request: Request) -> "AbstractContextManager[None]":
    """Have what is sent meanwhile to the CMS be a part of the request's trace, and tell of it."""
    if _traces is None or request.trace_context is None:
        return nullcontext()
    return _traces.span("notify", request.trace_context, request_id=request.id)


def past(
    name: str, session: Session, export: Export | Row[Any], since: datetime, until: datetime
) -> None:
    """Add a span for what went on elsewhere from one time to another."""
    if _traces is not None and (parent := _parent(session, export.id)):
        _traces.past(name, parent, since, until, export_id=str(export.id), asset=export.asset)


def trouble(code: str) -> None:
    """Have the present span say that it came to nothing, and why."""
    if _traces is not None:
        _traces.trouble(code)


def _parent(session: Session, export_id: UUID) -> str | None:
    return session.scalar(
        select(Request.trace_context)
        .where(Request.export_id == export_id, Request.trace_context.is_not(None))
        .order_by(Request.created_at)
        .limit(1)
    )
