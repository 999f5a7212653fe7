"""Create: a CMS's message becomes a request, and an export unless one is under way already."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from models import Audio, Export, Request
from models.state import UNDER_WAY
from worker.errors import InvalidRequest, Transient
from worker.logs import get_logger
from worker.steps.kit import Kit
from worker.steps.report import Report, Step, Wake

LONGEST_ID = 155  # Celery's result tables hold no longer one
MOST_METADATA_BYTES = 64 << 10
MOST_RACES = 5

_log = get_logger(__name__)

_Name = Annotated[str, Field(min_length=1, max_length=255)]


class Callback(BaseModel):
    """The Celery task that is told how the export ended."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    task: _Name
    queue: _Name


class Wish(BaseModel):
    """The arguments of `exports.create`, as a CMS sends them."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    asset: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    aaclc: bool = False
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    callback: Callback | None = None
    webhook_url: Annotated[str, Field(max_length=2000)] | None = None

    @field_validator("metadata")
    @classmethod
    def _is_small(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        text = json.dumps(value)
        if len(text) > MOST_METADATA_BYTES:
            raise ValueError(f"is {len(text)} bytes as JSON; at most {MOST_METADATA_BYTES} go")
        if "\\u0000" in text:
            raise ValueError("holds a NUL character, which PostgreSQL can't store")
        return value

    @field_validator("webhook_url")
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        if value is not None:
            parts = urlsplit(value)
            if parts.scheme not in {"http", "https"} or not parts.hostname:
                raise ValueError("must be an http:// or https:// URL")
        return value

    @property
    def audio(self) -> Audio:
        """The audio codec that is asked for."""
        return Audio.AAC_LC if self.aaclc else Audio.HE_AAC


def create(
    kit: Kit, request_id: str, arguments: Mapping[str, Any], positional: Sequence[Any] = ()
) -> Report:
    """Set down the request; the same request id again changes nothing.

    The request shares the export of its asset and audio codec that is under way, or begins one.
    A request that makes no sense is set down as failed, with the reason.

    Args:
        kit: what to work with.
        request_id: the id of the Celery task that brought it.
        arguments: the task's keyword arguments: `asset` and, as they are wanted, `aaclc`,
            `priority`, `metadata`, `callback`, `webhook_url`.
        positional: the task's positional arguments; there must be none.

    Raises:
        InvalidRequest: it makes no sense; that is on record unless the id itself is unusable.
    """
    if not request_id or len(request_id) > LONGEST_ID or "\0" in request_id:
        raise InvalidRequest(f"the task id must have 1 to {LONGEST_ID} characters")
    now = kit.now()
    try:
        wish = read(arguments, positional)
    except InvalidRequest as error:
        _refuse(kit, request_id, arguments, str(error), now)
        raise
    with kit.sessions.begin() as session:
        request = _recorded(session, request_id, wish, kit.slicer.owner, now)
        export = request.export
        facts = {"request_id": request_id, "state": str(request.state)}
        if export is None:  # this very id was refused before
            return Report(facts)
        facts["export_id"] = str(export.id)
    _log.info("request recorded", asset=wish.asset, **facts)
    return Report(facts, (Wake(Step.SUBMIT),))


def read(arguments: Mapping[str, Any], positional: Sequence[Any] = ()) -> Wish:
    """Return the wish that a task's arguments express.

    Raises:
        InvalidRequest: they make no sense; the message names each argument that is wrong.
    """
    if positional:
        raise InvalidRequest(
            f"exports.create takes keyword arguments only, and {len(positional)} came without one"
        )
    try:
        return Wish.model_validate(dict(arguments))
    except ValidationError as error:
        wrong = [f"{_named(one['loc'])}: {_said(one)}" for one in error.errors(include_url=False)]
        raise InvalidRequest(
            "exports.create was sent wrong arguments: " + "; ".join(wrong)
        ) from None


def _named(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part)[:60] for part in location)


def _said(error: Any) -> str:  # noqa: ANN401  (pydantic's ErrorDetails)
    match error["type"]:
        case "extra_forbidden":
            return "is no argument of exports.create"
        case "missing":
            return "is missing"
        case "string_pattern_mismatch":
            return "must be an asset's id: 32 hex digits in lower case"
    return str(error["msg"]).removeprefix("Value error, ")


def _recorded(
    session: Session, request_id: str, wish: Wish, account: str, now: datetime
) -> Request:
    """Return the request of this id, made now unless it is there already."""
    if known := session.get(Request, request_id):
        return known
    request = Request(
        id=request_id,
        asset=wish.asset,
        audio=wish.audio,
        priority=wish.priority,
        metadata_=wish.metadata,
        callback_task=wish.callback.task if wish.callback else None,
        callback_queue=wish.callback.queue if wish.callback else None,
        webhook_url=wish.webhook_url,
        created_at=now,
    )
    # first the request: where the same message is a moment ahead in another worker, this waits
    # for it, and no export is begun that nobody asked for
    if not _inserted(session, request):
        return session.get_one(Request, request_id)
    request.export = _joined(session, wish, account, now)
    return request


def _joined(session: Session, wish: Wish, account: str, now: datetime) -> Export:
    """Return the export that is under way for this wish, begun now unless there is one."""
    for _ in range(MOST_RACES):
        if export := _shared(session, wish, account):
            return export
        export = Export.requested(
            account=account, asset=wish.asset, audio=wish.audio, priority=wish.priority, now=now
        )
        if _inserted(session, export):
            return export
        # another worker began one between the two statements: share that
    raise Transient("races_lost", f"exports of {wish.asset} begin and end faster than can be told")


def _shared(session: Session, wish: Wish, account: str) -> Export | None:
    """Return the export that is under way for this wish, now no less urgent than the wish is."""
    export = session.scalars(
        select(Export)
        .where(
            Export.account == account,
            Export.asset == wish.asset,
            Export.audio == wish.audio,
            Export.state.in_(UNDER_WAY),
        )
        .with_for_update()
    ).one_or_none()
    if export is not None:
        export.priority = max(export.priority, wish.priority)
    return export


def _inserted(session: Session, row: Request | Export) -> bool:
    """Return whether the row could be added; False where a unique index has one like it."""
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError:
        return False
    return True


def _refuse(
    kit: Kit, request_id: str, arguments: Mapping[str, Any], why: str, now: datetime
) -> None:
    asset = arguments.get("asset")
    with kit.sessions.begin() as session:
        if session.get(Request, request_id) is None:
            _inserted(
                session,
                Request(
                    id=request_id,
                    asset=str(asset)[:255].replace("\0", "") if asset is not None else None,
                    created_at=now,
                    error_code="invalid_request",
                    error_message=why.replace("\0", ""),
                ),
            )
    _log.warning("request refused", request_id=request_id, message=why)
