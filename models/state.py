"""The states of an export, and the one table of the ways between them."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class State(StrEnum):
    """Where an export stands. Each comment says what is true in that state."""

    REQUESTED = "requested"  # recorded; Uplynk has not been asked, or surely never heard it
    SUBMITTING = "submitting"  # Uplynk may have been asked; the answer is not known
    EXPORTING = "exporting"  # Uplynk has the job; its id is on record
    DOWNLOADING = "downloading"  # Uplynk is done; the file's URL is on record
    STORED = "stored"  # the file is in storage, verified
    FAILED = "failed"  # ended without a file; error_code and error_message say why
    CANCELLED = "cancelled"  # ended because nobody wants it any more


UNDER_WAY = frozenset({State.REQUESTED, State.SUBMITTING, State.EXPORTING, State.DOWNLOADING})
TERMINAL = frozenset(State) - UNDER_WAY

# Where an export that ended without a file may be taken up again: where it makes sense (retry).
_RETRIED = UNDER_WAY

TRANSITIONS: Mapping[State, frozenset[State]] = MappingProxyType(
    {
        State.REQUESTED: frozenset({State.SUBMITTING, State.FAILED, State.CANCELLED}),
        # back to requested: the call was never made, or the job is surely not there
        State.SUBMITTING: frozenset(
            {State.EXPORTING, State.REQUESTED, State.FAILED, State.CANCELLED}
        ),
        State.EXPORTING: frozenset({State.DOWNLOADING, State.FAILED, State.CANCELLED}),
        # back to exporting: the URL is gone, so the job is asked for a new one
        State.DOWNLOADING: frozenset(
            {State.STORED, State.EXPORTING, State.FAILED, State.CANCELLED}
        ),
        State.STORED: frozenset(),
        State.FAILED: _RETRIED,
        State.CANCELLED: _RETRIED,
    }
)


class TransitionError(Exception):
    """The table of transitions has no way from the one state to the other: a bug in a step."""

    def __init__(self, source: State, target: State) -> None:
        super().__init__(f"no way leads from {source} to {target}")


class Audio(StrEnum):
    """The audio codec that was asked for; Uplynk makes HE-AAC unless told otherwise."""

    HE_AAC = "he-aac"
    AAC_LC = "aac-lc"


class StopCause(StrEnum):
    """Why a worker told Uplynk to stop a job."""

    UNWANTED = "unwanted"  # no request wanted it any more
    LATE = "late"  # Uplynk had not finished it in time


class Captions(StrEnum):
    """What is known of an asset's captions."""

    PRESENT = "present"  # stored beside the film
    ABSENT = "absent"  # Uplynk says that there are none
    UNKNOWN = "unknown"  # the answer was neither: asked again a few times, then left at that


class Channel(StrEnum):
    """The way by which a notification reaches the CMS."""

    TASK = "task"  # a Celery task of the CMS's, by name
    WEBHOOK = "webhook"  # an HTTP POST, signed as Standard Webhooks says
