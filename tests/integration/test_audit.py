"""Audit: what is in storage is what was stored, or it is said in which way it is not."""

import hashlib
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import insert
from sqlalchemy.orm import Session, sessionmaker

from models import Export, Request, State
from tests.factories import an_asset, make_export
from tests.raw_server import Say, http, raw_server
from worker import audit
from worker.settings import ClientSettings

Sessions = sessionmaker[Session]
FILM = b"film" * 100_000
OLD = "Mon, 01 Jan 2024 00:00:00 GMT"


@pytest.fixture
def settings(database_url: str) -> ClientSettings:
    return ClientSettings(_env_file=None, database_url=database_url)


def a_stored(sessions: Sessions, path: Path, content: bytes = FILM) -> Export:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return make_export(
        sessions,
        state=State.STORED,
        due_at=None,
        storage_url=path.as_uri(),
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )


def test_what_is_as_it_was_stored_differs_in_nothing(
    sessions: Sessions, settings: ClientSettings, tmp_path: Path
) -> None:
    made = {
        a_stored(sessions, tmp_path / f"my films/{name}.mp4", FILM + name.encode()).id
        for name in ("a", "b")
    }
    make_export(sessions, state=State.FAILED, due_at=None)
    found = list(audit.stored(settings, []))
    assert {each.export_id for each in found} == made
    assert [audit.differs(each) for each in found] == ["", ""]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (FILM[:-1], "it has 399999 bytes, and 400000 were stored"),
        (FILM + b"x", "it has 400001 bytes, and 400000 were stored"),
        (b"F" + FILM[1:], "its SHA-256 is "),
        (None, "it is not there"),
    ],
)
def test_what_is_not_as_it_was_stored_is_told_apart(
    sessions: Sessions, settings: ClientSettings, tmp_path: Path, content: bytes | None, says: str
) -> None:
    path = tmp_path / "a.mp4"
    a_stored(sessions, path)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    (found,) = audit.stored(settings, [])
    assert audit.differs(found).startswith(says)


def test_a_request_or_an_export_is_named(
    sessions: Sessions, settings: ClientSettings, tmp_path: Path
) -> None:
    export = a_stored(sessions, tmp_path / "a.mp4")
    a_stored(sessions, tmp_path / "b.mp4")
    with sessions.begin() as session:
        session.add(Request(id="request", export_id=export.id, created_at=export.created_at))
    for name in ("request", str(export.id)):
        (found,) = audit.stored(settings, [name])
        assert found.export_id == export.id
    with pytest.raises(LookupError, match="nothing is no request or export that is stored"):
        list(audit.stored(settings, ["nothing"]))


def test_more_than_a_page_of_them_are_all_read(
    sessions: Sessions, settings: ClientSettings
) -> None:
    template: dict[str, Any] = {
        "state": State.STORED,
        "due_at": None,
        "storage_url": "file:///x",
        "sha256": "",
    }
    first = make_export(sessions, **template)
    count = audit.ROWS_AT_ONCE + 1
    with sessions.begin() as session:
        columns = {column.key: getattr(first, column.key) for column in Export.__table__.columns}
        rows = [columns | {"id": uuid4(), "asset": an_asset()} for _ in range(count)]
        session.execute(insert(Export), rows)
    assert len({each.export_id for each in audit.stored(settings, [])}) == count + 1


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (http(body=FILM, Content_Length=str(len(FILM)), Last_Modified=OLD, ETag='"1"'), ""),
        (http("404 Not Found", b"", Content_Length="0"), "it is not there"),
        (http("403 Forbidden", b"", Content_Length="0"), "can't read the file (STORAGE_URL)"),
    ],
)  # fmt: skip
def test_an_object_store_is_read_too(
    sessions: Sessions,
    settings: ClientSettings,
    monkeypatch: pytest.MonkeyPatch,
    answer: Say,
    says: str,
) -> None:
    make_export(
        sessions, state=State.STORED, due_at=None, storage_url="s3://bucket/prefix/a/b.mp4",
        size_bytes=len(FILM), sha256=hashlib.sha256(FILM).hexdigest(),
    )  # fmt: skip
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-secret")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    with raw_server(answer) as heard:
        monkeypatch.setenv("AWS_ENDPOINT_URL", heard.url)
        (found,) = audit.stored(settings, [])
        assert audit.differs(found).startswith(says)
    assert heard.requests[0].startswith(b"GET /bucket/prefix/a/b.mp4 HTTP/1.1\r\n")
