"""Logs: a static event name with its data in fields, and one list of what may be said."""

import logging
import sys

import structlog
from structlog.types import EventDict, Processor, WrappedLogger

# Whatever is not on this list is left out: a secret can't slip in by way of a new field.
FIELDS = frozenset(
    {
        "asset", "attempt", "audio", "bytes", "captions", "code", "delay_seconds", "event",
        "exception", "export_id", "jobs", "level", "logger", "message", "polls", "queue",
        "request_id", "state", "task", "task_id", "timestamp", "user", "wakes", "worker",
    }
)  # fmt: skip

# The plumbing of structlog itself, taken off before a line is written.
_INTERNAL = frozenset({"_record", "_from_structlog", "exc_info", "stack_info"})


def only_listed(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Drop every field that is not on the list."""
    return {key: value for key, value in event.items() if key in FIELDS or key in _INTERNAL}


def configure(style: str, *, level: int = logging.INFO) -> None:
    """Send all logs, Celery's own among them, to standard error in one form.

    Args:
        style: "json", "console", or "auto" for console on a terminal and JSON elsewhere.
        level: the lowest level that is shown.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        only_listed,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    last: list[Processor] = (
        [
            # the plain form: rich's would print local variables, and so the key
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
        if console
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # its lines hold whole URLs, signed ones too; what went wrong we say ourselves
    logging.getLogger("urllib3").setLevel(logging.ERROR)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of a module."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(name)
    return logger
