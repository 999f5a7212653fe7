"""Spans: OpenTelemetry as this worker uses it. Loaded only where tracing is on (see tracing).

The wake-ups are no part of a trace: one of them serves many exports, and most find nothing to do.
What a step does for an export is a span of the trace of the request that first asked for it.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib.metadata import entry_points
from urllib.parse import urlsplit

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import Attributes

SERVICE = "uplynk-export"
# A worker that ends waits for its collector so long: one that is away must not hold it up.
STOP_MILLISECONDS = 1000
HEADER = "traceparent"

# Where the instrumentation of requests puts the whole of a URL, in its old way and its new.
_URLS = frozenset({"http.url", "url.full"})
_OF_ERRORS = ("exception.type",)
_OF_REQUESTS = "opentelemetry.instrumentation.requests"

_PROPAGATOR = TraceContextTextMapPropagator()


class Quiet(Sampler):
    """Samples as `other` does, but no span of these names."""

    def __init__(self, other: Sampler, dropped: Collection[str]) -> None:
        self._other, self._dropped = other, dropped

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: trace.TraceState | None = None,
    ) -> SamplingResult:
        """Return whether the span is recorded."""
        if name in self._dropped:
            return SamplingResult(Decision.DROP)
        return self._other.should_sample(
            parent_context, trace_id, name, kind, attributes, links, trace_state
        )

    def get_description(self) -> str:
        """Return what it is called."""
        return f"Quiet{{{self._other.get_description()}}}"


class Discreet(BatchSpanProcessor):
    """Hands spans on without the URLs of files and webhooks, by which anybody could have them.

    Args:
        exporter: where they go.
        api_url: what URLs begin with that have no secrets in their paths.
    """

    def __init__(self, exporter: SpanExporter, api_url: str) -> None:
        super().__init__(exporter)
        self._api_url = api_url

    def on_end(self, span: ReadableSpan) -> None:
        """Take a span that has ended."""
        scope = span.instrumentation_scope
        super().on_end(self._redacted(span) if scope and scope.name == _OF_REQUESTS else span)

    def shutdown(self) -> None:
        """Send what was not sent yet, if that is done soon."""
        self._batch_processor.shutdown(timeout_millis=STOP_MILLISECONDS)

    def _redacted(self, span: ReadableSpan) -> ReadableSpan:
        attributes = {
            name: self._shown(str(value)) if name in _URLS else value
            for name, value in (span.attributes or {}).items()
        }
        return ReadableSpan(
            span.name,
            context=span.context,
            parent=span.parent,
            resource=span.resource,
            attributes=attributes,
            events=[_type_of(event) for event in span.events],
            links=span.links,
            kind=span.kind,
            status=Status(span.status.status_code),
            start_time=span.start_time,
            end_time=span.end_time,
            instrumentation_scope=span.instrumentation_scope,
        )

    def _shown(self, url: str) -> str:
        parts = urlsplit(url)
        path = parts.path if url.startswith(self._api_url) else ""
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{path}"


def _type_of(event: Event) -> Event:
    """Return an error without its words, which quote the URL."""
    attributes = event.attributes or {}
    kept = {name: attributes[name] for name in _OF_ERRORS if name in attributes}
    return Event(event.name, kept, event.timestamp)


class Traces:
    """The traces of this process.

    Args:
        exporter: the name under which an exporter is installed.
        api_url: what URLs of calls to Uplynk begin with; their paths are told.
        dropped: names of tasks whose messages are no part of a trace.

    Raises:
        LookupError: there is no such exporter.
    """

    def __init__(self, exporter: str, *, api_url: str, dropped: Collection[str]) -> None:
        found = [*entry_points(group="opentelemetry_traces_exporter", name=exporter)]
        if not found:
            raise LookupError(f"no exporter of the name {exporter} is installed")
        names = {f"{what}/{task}" for what in ("run", "apply_async") for task in dropped}
        self._provider = TracerProvider(resource=_resource())
        self._provider.sampler = Quiet(self._provider.sampler, names)
        self._provider.add_span_processor(Discreet(found[0].load()(), api_url))
        self._tracer = trace.get_tracer(__name__, tracer_provider=self._provider)
        celery = CeleryInstrumentor()  # type: ignore[no-untyped-call]  # it has no types
        celery.instrument(tracer_provider=self._provider)
        RequestsInstrumentor().instrument(tracer_provider=self._provider)

    def stop(self) -> None:
        """Send what was not sent yet, and trace no more."""
        self._provider.shutdown()

    @staticmethod
    def current() -> str | None:
        """Return the present span as a `traceparent`; None where there is none."""
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier)
        return carrier.get(HEADER)

    @staticmethod
    @contextmanager
    def apart() -> Iterator[None]:
        """Have what is sent meanwhile be no part of the present trace."""
        token = contexts.attach(Context())
        try:
            yield
        finally:
            contexts.detach(token)

    @contextmanager
    def span(self, name: str, parent: str, **attributes: str) -> Iterator[None]:
        """Have what is done meanwhile be a span of the trace of `parent`, a `traceparent`."""
        present = trace.get_current_span().get_span_context()
        with self._tracer.start_as_current_span(
            name,
            context=_PROPAGATOR.extract({HEADER: parent}),
            links=[Link(present)] if present.is_valid else None,
            attributes=attributes,
            record_exception=False,  # the database's quote what they could not set down
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except Exception as error:
                span.set_status(Status(StatusCode.ERROR, type(error).__name__))
                raise

    def past(
        self, name: str, parent: str, since: datetime, until: datetime, **attributes: str
    ) -> None:
        """Add a span for what went on from one time to another."""
        context = _PROPAGATOR.extract({HEADER: parent})
        span = self._tracer.start_span(
            name, context=context, start_time=_nanoseconds(since), attributes=attributes
        )
        span.end(_nanoseconds(max(since, until)))

    @staticmethod
    def trouble(code: str) -> None:
        """Have the present span say that it came to nothing."""
        trace.get_current_span().set_status(Status(StatusCode.ERROR, code))


def _resource() -> Resource:
    found = Resource.create()
    is_named = not str(found.attributes[SERVICE_NAME]).startswith("unknown_service")
    return found if is_named else found.merge(Resource({SERVICE_NAME: SERVICE}))


def _nanoseconds(time: datetime) -> int:
    return int(time.timestamp() * 1e9)
