"""Wish: what a CMS asks for, read out of a message with distrust."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Annotated, Any, Self, TypeVar

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    field_validator,
    model_validator,
)
from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from models import Audio
from models.pause import EVERYBODY
from worker.cloudslicer.job import storable
from worker.errors import InvalidRequest

LONGEST_ID = 155  # Celery's result tables hold no longer one
LONGEST_REQUESTER = 64
MOST_METADATA_BYTES = 64 << 10

_ASSET = r"^[0-9a-f]{32}$"
_Name = Annotated[str, Field(min_length=1, max_length=255)]


class Callback(BaseModel):
    """The Celery task that is told how the export ended."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    task: _Name
    queue: _Name


class Sender(BaseModel):
    """What a CMS is told by, and what of its own it is told besides."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    callback: Callback | None = None
    webhook_url: Annotated[str, Field(max_length=2000)] | None = None

    def columns(self) -> dict[str, Any]:
        """Return the columns of a request that hold it."""
        return {
            "metadata_": self.metadata,
            "callback_task": self.callback.task if self.callback else None,
            "callback_queue": self.callback.queue if self.callback else None,
            "webhook_url": self.webhook_url,
        }

    @field_validator("metadata")
    @classmethod
    def _is_small(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        text = json.dumps(value, allow_nan=False)
        if len(text) > MOST_METADATA_BYTES:
            raise ValueError(f"is {len(text)} bytes as JSON; at most {MOST_METADATA_BYTES} go")
        return value

    @field_validator("webhook_url")
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            parts = parse_url(value)  # the parser that it is sent by
            host = (parts.host or "").strip(".")
        except LocationParseError:  # whose text may hold a password
            raise ValueError("is no URL that can be read") from None
        if parts.scheme not in {"http", "https"} or not host or "\\" in value:
            raise ValueError("must be an http:// or https:// URL")
        if parts.auth is not None:
            raise ValueError("must hold no user and no password: a webhook is signed instead")
        return value


class Wish(Sender):
    """The arguments of `exports.create`, as a CMS sends them."""

    asset: Annotated[str, Field(pattern=_ASSET)]
    aaclc: bool = False
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0
    requester: Annotated[str, Field(min_length=1, max_length=LONGEST_REQUESTER)] | None = None

    @field_validator("requester")
    @classmethod
    def _is_one(cls, value: str | None) -> str | None:
        if value == EVERYBODY:
            raise ValueError(f"must not be {EVERYBODY}: by that all of them are meant")
        return value

    @property
    def by(self) -> str:
        """Who asks: those who want something of the same priority take turns.

        It is `requester`, or the text of that name in `metadata`, or else nobody by name.
        """
        named = self.requester or self.metadata.get("requester")
        return named[:LONGEST_REQUESTER] if isinstance(named, str) and named != EVERYBODY else ""

    @property
    def audio(self) -> Audio:
        """The audio codec that is asked for."""
        return Audio.AAC_LC if self.aaclc else Audio.HE_AAC

    def begins(self, account: str, *, now: datetime) -> dict[str, Any]:
        """Return the members of the export that it begins, unless one is under way."""
        return {
            "account": account,
            "asset": self.asset,
            "audio": self.audio,
            "priority": self.priority,
            "requester": self.by,
            "now": now,
        }

    def row(self, request_id: str, *, now: datetime) -> dict[str, Any]:
        """Return the columns of the request that sets it down, without an export."""
        return {
            "id": request_id,
            "asset": self.asset,
            "audio": self.audio,
            "priority": self.priority,
            "requester": self.by,
            "created_at": now,
            **self.columns(),
        }


class Withdrawal(BaseModel):
    """The arguments of `exports.cancel`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    request_id: str


class Question(BaseModel):
    """The arguments of `exports.status`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    request_id: str


class Again(BaseModel):
    """The arguments of `exports.retry`: one request, or all that failed with a code."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    request_id: str | None = None
    code: _Name | None = None
    before: Annotated[AwareDatetime | None, Field(strict=False)] = None  # JSON has no times

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.request_id is None) == (self.code is None):
            raise ValueError("takes either a request_id or the code of an error")
        return self


_Read = TypeVar("_Read", bound=BaseModel)


def read(arguments: Mapping[str, Any], positional: Sequence[Any] = ()) -> Wish:
    """Return the wish that the arguments of `exports.create` express; raises as `read_as` does."""
    return read_as(Wish, "exports.create", arguments, positional)


def sender(arguments: Mapping[str, Any]) -> Sender:
    """Return what a refused `exports.create` is answered by: each part that makes sense."""
    parts: dict[str, Any] = {}
    for name in Sender.model_fields:
        with suppress(InvalidRequest):
            if name in arguments:
                part = read_as(Sender, "exports.create", {name: arguments[name]})
                parts[name] = getattr(part, name)
    return Sender(**parts)


def read_as(
    kind: type[_Read], task: str, arguments: Mapping[str, Any], positional: Sequence[Any] = ()
) -> _Read:
    """Return what the arguments of `task` express.

    Raises:
        InvalidRequest: they make no sense; the message names each argument that is wrong.
    """
    if positional:
        raise InvalidRequest(
            f"{task} takes keyword arguments only, and {len(positional)} came without one"
        )
    if any(text != storable(text) for text in _texts(arguments)):
        raise InvalidRequest(
            f"{task} was sent text that no database takes: NUL, or half a surrogate pair"
        )
    try:
        return kind.model_validate(dict(arguments))
    except ValidationError as error:
        wrong = [
            f"{_named(one['loc'])}: {_said(one, task)}" for one in error.errors(include_url=False)
        ]
        raise InvalidRequest(f"{task} was sent wrong arguments: " + "; ".join(wrong)) from None


def _named(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part)[:60] for part in location) or "as a whole"


def _said(error: Any, task: str) -> str:  # noqa: ANN401  (pydantic's ErrorDetails)
    match error["type"]:
        case "extra_forbidden":
            return f"is no argument of {task}"
        case "missing":
            return "is missing"
        case "string_pattern_mismatch":
            return "must be an asset's id: 32 hex digits in lower case"
    return str(error["msg"]).removeprefix("Value error, ")


def is_asset(text: str) -> bool:
    """Return whether a text is an asset's id by its looks."""
    return re.search(_ASSET, text) is not None


def check_id(request_id: str) -> None:
    """Let a request's id pass if it can be kept.

    Raises:
        InvalidRequest: it can't.
    """
    if not 0 < len(request_id) <= LONGEST_ID or request_id != storable(request_id):
        raise InvalidRequest(
            f"the task id must have 1 to {LONGEST_ID} characters, NUL not among them"
        )


def _texts(value: object) -> Iterator[str]:
    """Give every text in a JSON value, the names of members among them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, member in value.items():
            yield from _texts(name)
            yield from _texts(member)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
