"""Storage on S3, against a server process of moto's: whole objects with what they are, or none."""

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import obstore
import pytest
import requests
from obstore.store import from_url
from sqlalchemy.orm import Session, sessionmaker

from emulator.server import Emulator
from models import Audio, Captions, Export, State
from tests.factories import make_export, make_kit
from tests.services import free_port, listens, process
from tests.waiting import wait_until
from worker import audit, storage
from worker.settings import ClientSettings
from worker.steps import download, poll, submit
from worker.storage import Storage

Sessions = sessionmaker[Session]
LARGE_BYTES = 50_000_000


class Told(Exception):  # noqa: N818  (as Stopping is none)
    """What a check raises in these tests."""


@pytest.fixture(scope="session")
def _server() -> Iterator[str]:
    port = free_port()
    with process([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]):
        wait_until(lambda: listens(port), what="moto's server")
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def bucket(_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give the URL of an empty bucket, which the environment's credentials open."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", _server)
    name = f"films-{uuid4().hex}"
    requests.put(f"{_server}/{name}", timeout=10).raise_for_status()
    return f"s3://{name}"


def keys(bucket: str) -> list[str]:
    return sorted(each["path"] for page in obstore.list(from_url(bucket)) for each in page)


def uploads(bucket: str) -> int:
    """Return how many multipart uploads have been begun and not ended."""
    listed = requests.get(
        f"{os.environ['AWS_ENDPOINT_URL']}/{bucket.removeprefix('s3://')}?uploads", timeout=10
    )
    return listed.text.count("<UploadId>")


def a_large_file(tmp_path: Path) -> Path:
    path = tmp_path / "film.mp4"
    path.write_bytes(os.urandom(LARGE_BYTES))
    return path


def publish(
    bucket: str, content: Path | bytes, check: Callable[[], None] = lambda: None, **metadata: str
) -> str:
    where = Storage(f"{bucket}/archive")
    return where.publish(
        content, "a/b.mp4", content_type="video/mp4", check=check, metadata=metadata, is_ours=True
    )


def test_a_large_file_comes_in_parts_and_is_one_object(bucket: str, tmp_path: Path) -> None:
    path = a_large_file(tmp_path)
    url = publish(bucket, path, asset="1234", sha256="5678")
    assert url == f"{bucket}/archive/a/b.mp4"
    found = obstore.get(from_url(bucket), "archive/a/b.mp4")
    assert found.attributes == {"Content-Type": "video/mp4", "asset": "1234", "sha256": "5678"}
    assert b"".join(storage.read(url)) == path.read_bytes()
    assert (keys(bucket), uploads(bucket)) == (["archive/a/b.mp4"], 0)


def test_the_same_key_again_is_the_same_object(bucket: str, tmp_path: Path) -> None:
    publish(bucket, a_large_file(tmp_path))
    assert b"".join(storage.read(publish(bucket, b"film"))) == b"film"
    assert keys(bucket) == ["archive/a/b.mp4"]


def test_an_upload_that_is_to_stop_takes_itself_back(bucket: str, tmp_path: Path) -> None:
    publish(bucket, b"old")
    calls = iter(range(2))

    def check() -> None:
        if next(calls, None) is None:
            raise Told

    with pytest.raises(Told):
        publish(bucket, a_large_file(tmp_path), check)
    wait_until(lambda: uploads(bucket) == 0, what="the end of the upload")
    assert b"".join(storage.read(f"{bucket}/archive/a/b.mp4")) == b"old"


def test_a_killed_upload_shows_nothing_and_the_next_is_whole(bucket: str, tmp_path: Path) -> None:
    path = a_large_file(tmp_path)
    command = [sys.executable, "-m", "tests.publisher", f"{bucket}/archive", str(path), "4"]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert keys(bucket) == []
    assert b"".join(storage.read(publish(bucket, path))) == path.read_bytes()


def test_an_export_ends_as_an_object_with_its_captions_and_its_proof(
    bucket: str, sessions: Sessions, database_url: str, tmp_path: Path, emulator: Emulator
) -> None:
    export = make_export(sessions, state=State.REQUESTED, audio=Audio.AAC_LC)
    emulator.control.asset(export.asset, run_seconds=0, captions=True)
    kit = make_kit(sessions, tmp_path, emulator=emulator, storage_url=f"{bucket}/archive")
    submit(kit)
    with sessions.begin() as session:
        session.get_one(Export, export.id).due_at = export.due_at
    poll(kit)
    download(kit, export.id)
    with sessions.begin() as session:
        after = session.get_one(Export, export.id)
        assert (after.state, after.captions) == (State.STORED, Captions.PRESENT)
    film, captions = (f"archive/{export.asset}/{export.id}{end}" for end in (".mp4", ".ttml"))
    assert keys(bucket) == [film, captions]
    found = obstore.get(from_url(bucket), film)
    assert found.attributes == {
        "Content-Type": "video/mp4",
        "asset": export.asset,
        "export": str(export.id),
        "sha256": after.sha256,
    }
    assert hashlib.sha256(found.bytes()).hexdigest() == after.sha256
    assert obstore.head(from_url(bucket), captions)["size"] > 0
    assert list((tmp_path / "scratch").iterdir()) == []
    (stored,) = audit.stored(ClientSettings(_env_file=None, database_url=database_url), [])
    assert audit.differs(stored) == ""
    obstore.put(from_url(bucket), film, b"another film")
    assert audit.differs(stored).startswith("it has 12 bytes")
    obstore.delete(from_url(bucket), film)
    assert audit.differs(stored) == "it is not there"
