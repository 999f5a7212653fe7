"""Report: what a step did, and what should be woken next."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class Step(StrEnum):
    """The steps by the names of their Celery tasks; the names are contracts."""

    CREATE = "exports.create"
    SUBMIT = "exports.submit"
    POLL = "exports.poll"
    DOWNLOAD = "exports.download"
    CAPTIONS = "exports.captions"
    SWEEP = "exports.sweep"
    CLEAN = "exports.clean"
    NOTIFY = "exports.notify"
    CANCEL = "exports.cancel"
    RETRY = "exports.retry"
    STATUS = "exports.status"


@dataclass(frozen=True, slots=True)
class Wake:
    """A step that should be taken: now, or `at` a time; for one export, or for whichever is due.

    To lose one costs time, to send one twice costs nothing. `arguments` are those of a step that
    works something off and has not come to its end; `goes_on` says that of one without any.
    """

    step: Step
    export_id: UUID | None = None
    at: datetime | None = None
    arguments: tuple[tuple[str, str], ...] = ()
    goes_on: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """What a step did, in a few JSON values for Flower, and what it wants woken.

    `took` is how many exports it took up: if each of them failed, the step did.
    """

    facts: Mapping[str, object] = field(default_factory=dict)
    wakes: tuple[Wake, ...] = ()
    took: int = 1
