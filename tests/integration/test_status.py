"""Status: what a CMS reads in the view, and is answered by a message, is what it would be told."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from models import Request, State, outbox
from tests.factories import Clock, an_asset
from worker import steps
from worker.errors import InvalidRequest
from worker.steps import Kit

Sessions = sessionmaker[Session]
SAME = (
    *("asset", "audio", "state", "storage_url", "size_bytes", "sha256"),
    *("duration_seconds", "captions_url"),
)


def read(sessions: Sessions, request_id: str) -> dict[str, Any]:
    with sessions.begin() as session:
        query = text("SELECT * FROM request_status WHERE request_id = :id")
        return dict(session.execute(query, {"id": request_id}).mappings().one())


def made(sessions: Sessions, clock: Clock, kit: Kit) -> list[str]:
    """Return requests that stand in every way in which one can."""
    stored, failed, shared = an_asset(), an_asset(), an_asset()
    for request_id, asset in {
        "requested": an_asset(),
        "stored": stored,
        "withdrawn from a stored one": stored,
        "failed": failed,
        "withdrawn from a failed one": failed,
        "withdrawn from one under way": shared,
        "under way": shared,
    }.items():
        steps.create(kit, request_id, {"asset": asset})
        if request_id.startswith("withdrawn"):
            steps.cancel(sessions, request_id, now=clock())
    with pytest.raises(InvalidRequest):
        steps.create(kit, "refused", {"asset": "none"})
    steps.cancel(sessions, "cancelled before it came", now=clock())
    with sessions.begin() as session:
        export = session.get_one(Request, "stored").export
        assert export is not None
        for state in (State.SUBMITTING, State.EXPORTING, State.DOWNLOADING, State.STORED):
            export.advance(state, now=clock(), reason="a test's")
        export.storage_url, export.size_bytes = "s3://films/a.mp4", 12
        export.sha256, export.duration_seconds = "f" * 64, 1.5
        export.captions_url = "s3://films/a.ttml"
        other = session.get_one(Request, "failed").export
        assert other is not None
        other.fail("export_error", "no such luck", now=clock())
    with sessions.begin() as session:
        return [request.id for request in session.query(Request)]


def test_the_view_says_what_the_cms_would_be_told(
    sessions: Sessions, clock: Clock, kit: Kit
) -> None:
    requests = made(sessions, clock, kit)
    assert len(requests) == 9
    seen = set()
    for request_id in requests:
        row = read(sessions, request_id)
        with sessions.begin() as session:
            data = outbox.data_of(session.get_one(Request, request_id))
        assert {name: row[name] for name in SAME} == {name: data[name] for name in SAME}
        export_id = row["export_id"] and str(UUID(str(row["export_id"])))  # SQLite has no dashes
        assert export_id == data["export_id"]
        error = data["error"] or {"code": None, "message": None}
        assert (row["error_code"], row["error_message"]) == (error["code"], error["message"])
        assert row["state_since"] is not None
        seen.add(row["state"])
    assert seen == {"requested", "stored", "failed", "cancelled"}


def test_a_message_is_answered_with_the_same(sessions: Sessions, clock: Clock, kit: Kit) -> None:
    made(sessions, clock, kit)
    with sessions.begin() as session:
        data = outbox.data_of(session.get_one(Request, "failed"))
    assert steps.status(sessions, "failed").facts == data
    assert steps.status(sessions, "unheard of").facts == {
        "request_id": "unheard of",
        "state": None,
    }
