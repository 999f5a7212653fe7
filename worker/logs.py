"""Logs: a static event name with its data in fields, and one list of what may be said."""

import logging
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from io import StringIO
from logging.handlers import WatchedFileHandler
from types import TracebackType
from typing import Any, TextIO

import structlog
from structlog.contextvars import bind_contextvars, clear_contextvars, get_contextvars
from structlog.types import EventDict, ExcInfo, Processor, WrappedLogger

from worker.printing import plain

# Whatever is not on this list is left out: a secret can't slip in by way of a new field.
FIELDS = frozenset(
    {
        "asset", "attempt", "audio", "bytes", "calls_per_second", "captions", "code",
        "delay_seconds", "done_at", "event", "exception", "export_id", "folder", "jobs", "level",
        "logger", "message", "polls", "queue", "request_id", "state", "status", "task", "task_id",
        "timestamp", "user", "waiting", "wakes", "window", "worker",
    }
)  # fmt: skip

# The plumbing of structlog itself, taken off before a line is written.
_INTERNAL = frozenset({"_record", "_from_structlog", "exc_info", "stack_info"})

# Celery tells at these, with the whole of its result, that a message came and that its task ended:
# twelve times a minute for each worker's sweeps alone. What became of an export, or why a message
# was put back, we say ourselves; so they are shown to who looks for bugs only.
CHATTER = {
    "alembic.runtime.migration": logging.WARNING,
    "celery.worker.strategy": logging.WARNING,
    "celery.app.trace": logging.ERROR,
}

# A text that is longer is cut in its middle. Collectors split a line of more than 16 KB, and a
# buffer of 8 KB is what a process writes at once, beside the others of its pool.
MOST_CHARACTERS = 6000
_FROM_THE_BEGINNING = 1500

_log = structlog.get_logger(__name__)

# What was bound outside of the tasks that are under way in this context: one in another where
# tasks are called eagerly, else one.
_outer: ContextVar[tuple[Mapping[str, Any], ...]] = ContextVar("outer", default=())


def enter(**ids: object) -> None:
    """Begin a task: until `leave`, each line names these ids, and nothing that was bound before."""
    _outer.set((*_outer.get(), get_contextvars()))
    clear_contextvars()
    bind_contextvars(**ids)


def leave() -> None:
    """End a task: nothing that was bound in it is left, and what was before is bound again."""
    clear_contextvars()
    if outer := _outer.get():
        _outer.set(outer[:-1])
        bind_contextvars(**outer[-1])


@contextmanager
def about(**ids: object) -> Iterator[None]:
    """Have each line that is logged meanwhile name these ids.

    An error that ends a task leaves them bound, so that the line which tells of it names them too;
    the end of the task forgets them.
    """
    tokens = bind_contextvars(**{name: str(value) for name, value in ids.items()})
    try:
        yield
    except BaseException:
        if not _outer.get():
            structlog.contextvars.reset_contextvars(**tokens)
        raise
    structlog.contextvars.reset_contextvars(**tokens)


def forget(name: str) -> None:
    """Have the next lines not name this id any more: for who catches an error, and goes on."""
    structlog.contextvars.unbind_contextvars(name)


def named(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Name the task of a line of Celery's that is about one: it says so in a field of its own."""
    data = getattr(event.get("_record"), "data", None)
    if isinstance(data, dict):
        event.setdefault("task", data.get("name"))
        event.setdefault("task_id", data.get("id"))
    return event


def bounded(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Cut texts that are too long for a line."""
    for key, value in event.items():
        if isinstance(value, str) and len(value) > MOST_CHARACTERS:
            end = MOST_CHARACTERS - _FROM_THE_BEGINNING
            event[key] = f"{value[:_FROM_THE_BEGINNING]} [...] {value[-end:]}"
    return event


def only_listed(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Drop every field that is not on the list."""
    return {key: value for key, value in event.items() if key in FIELDS or key in _INTERNAL}


def displayable(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Have each text stand on one line, and move nothing on the terminal that it is read at."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = " ".join(map(plain, value.splitlines()))
    return event


def configure(style: str, *, level: int = logging.INFO, file: str | None = None) -> None:
    """Send all logs, Celery's own among them, to one place in one form.

    Args:
        style: "json", "console", or "auto" for console on a terminal and JSON elsewhere.
        level: the lowest level that is shown.
        file: where they go, made anew if it was moved away; None for standard error.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        named,
        only_listed,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = WatchedFileHandler(file, encoding="utf-8") if file else logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_last(is_for_people=not file and is_console(style)),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # billiard's, which keeps its lines to itself: that a child of the pool died is one of them
    pool = logging.getLogger("multiprocessing")
    pool.handlers[:], pool.propagate = [handler], False
    pool.setLevel(max(level, logging.WARNING))
    # its lines hold whole URLs, signed ones too; what went wrong we say ourselves
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    # one line is enough for spans that could not be sent, and not one for each try
    logging.getLogger("opentelemetry.exporter").setLevel(logging.ERROR)
    # it shows the whole arguments of each message, what a CMS meant for itself among them
    logging.getLogger("celery.pool").setLevel(logging.INFO)
    for name, least in CHATTER.items():
        logging.getLogger(name).setLevel(least if level > logging.DEBUG else logging.NOTSET)


def is_console(style: str) -> bool:
    """Return whether lines of this style are for a person to read."""
    return style == "console" or (style == "auto" and sys.stderr.isatty())


def _last(*, is_for_people: bool) -> list[Processor]:
    if not is_for_people:
        return [
            structlog.processors.format_exc_info,
            bounded,
            structlog.processors.JSONRenderer(),
        ]
    return [
        displayable,
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_traceback),
    ]


def _traceback(file: TextIO, error: ExcInfo) -> None:
    whole = StringIO()
    # the plain form: rich's would print local variables, and so the key
    structlog.dev.plain_traceback(whole, error)
    file.write("\n".join(map(plain, whole.getvalue().split("\n"))))


def take_over() -> None:
    """Have warnings of Python's, and errors that nobody catches, logged and not printed."""
    logging.captureWarnings(capture=True)
    sys.excepthook = _uncaught
    threading.excepthook = lambda said: _uncaught(said.exc_type, said.exc_value, said.exc_traceback)
    sys.unraisablehook = lambda said: _uncaught(said.exc_type, said.exc_value, said.exc_traceback)


def _uncaught(
    kind: type[BaseException], error: BaseException | None, traceback: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error or kind(), traceback)
        return
    _log.critical("error that nobody caught", exc_info=(kind, error or kind(), traceback))


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of a module."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(name)
    return logger
