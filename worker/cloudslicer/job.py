"""Job: what Uplynk sent about one of its jobs, read with distrust."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FAR = 4_102_444_800_000  # the year 2100 in milliseconds: nothing finishes later
_LONGEST_ID = 64
_LONGEST_TEXT = 2000
_LONGEST_URL = 8000


class JobState(StrEnum):
    """The states that Uplynk documents, and one for all that it doesn't."""

    WAITING = "waiting"  # queued, for the first time or again after a failed attempt
    ASSIGNED = "assigned"  # a machine is at it
    DONE = "done"  # the file can be fetched
    ERROR = "error"  # every attempt failed
    CANCELLED = "cancelled"  # somebody stopped it
    UNKNOWN = "?"  # a word nobody has heard of: not the end of it, keep looking


class Malformed(Exception):  # noqa: N818  (what it is; the client says what follows from it)
    """This is no job object; the message says which member is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as Uplynk described it; unknown members are left out.

    Attributes:
        id: Uplynk's id of the job.
        word: its state in Uplynk's own words.
        asset: the asset's id, if it was given.
        is_export: whether it makes an MP4; `jobs/list` has jobs of all kinds.
        aaclc: whether AAC-LC was asked for; None where `args` doesn't say.
        last_error: what went wrong in the last attempt, or "".
        progress: free text, or "".
        started_at: when the last attempt began, by the clock of what is on record; None while none
            has.
        finished_at: when it ended, by the same clock; None while it has not.
        url: where the MP4 is, once it is done.
    """

    id: str
    word: str
    asset: str | None = None
    is_export: bool = False
    aaclc: bool | None = None
    last_error: str = ""
    progress: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    url: str | None = None

    @property
    def state(self) -> JobState:
        """The state, or UNKNOWN for a word that is not documented."""
        try:
            return JobState(self.word)
        except ValueError:
            return JobState.UNKNOWN

    @classmethod
    def read(cls, data: object, *, ahead: timedelta | None = None) -> "Job":
        """Return the job that `data`, a decoded JSON value, describes.

        `ahead` is how far Uplynk's clock is ahead of that of what is on record, as far as that is
        known: it is taken off its times, which are compared with those that we set down.

        Only `id` and `state` are needed; any other member may be missing or of a wrong type, and
        then counts as not given: what it would have told is not worth losing the job for.

        Raises:
            Malformed: `data` is no object, or its `id` or `state` is no usable string.
        """
        if not isinstance(data, Mapping):
            raise Malformed(f"the job is no object but {type(data).__name__}")
        arguments = data.get("args")
        arguments = arguments if isinstance(arguments, Mapping) else {}
        url = _url(data.get("hd_exported_url"))
        return cls(
            id=_word(data, "id"),
            word=_word(data, "state"),
            asset=_text(data, "asset") or None,
            is_export=bool(_flag(arguments.get("export_mp4"))) or url is not None,
            aaclc=_flag(arguments.get("aaclc")),
            last_error=_text(data, "last_error"),
            progress=_text(data, "progress"),
            started_at=_time(data.get("last_start"), ahead),
            finished_at=_time(data.get("finished"), ahead),
            url=url,
        )


def storable(text: str) -> str:
    """Return the text without what no database takes: NUL, and half a surrogate pair.

    JSON can spell both.
    """
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def _word(data: Mapping[Any, Any], member: str) -> str:
    value = data.get(member)
    fits = isinstance(value, str) and 0 < len(value) <= _LONGEST_ID and value.isprintable()
    if not fits:
        raise Malformed(f"the job's {member} is no word of 1 to {_LONGEST_ID} characters")
    return str(value)


def _text(data: Mapping[Any, Any], member: str) -> str:
    value = data.get(member)
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    return storable(value[:_LONGEST_TEXT]) if isinstance(value, str) else ""


def _url(value: object) -> str | None:
    fits = isinstance(value, str) and 0 < len(value) <= _LONGEST_URL and value.isprintable()
    return str(value) if fits else None


def _flag(value: object) -> bool | None:
    if isinstance(value, str):
        return value.lower() not in {"", "0", "false"}
    return bool(value) if isinstance(value, bool | int) else None


def _time(value: object, ahead: timedelta | None) -> datetime | None:
    """Read Unix time in milliseconds, 0 when unset (uplynk-api: the job object)."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _FAR:
        return None
    return _EPOCH + timedelta(milliseconds=value) - (ahead or timedelta())
