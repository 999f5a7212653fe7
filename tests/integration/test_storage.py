"""Storage: a file appears under its key whole or not at all, or the refusal is a sentence."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from tests.disks import small_disk
from tests.raw_server import Heard, Say, http, raw_server
from tests.waiting import wait_until
from worker.errors import Transient
from worker.storage import Storage

LARGE_BYTES = 50_000_000


def publish(
    storage: Storage,
    content: Path | bytes,
    key: str = "a/b.mp4",
    check: Callable[[], None] = lambda: None,
    **metadata: str,
) -> str:
    return storage.publish(content, key, content_type="video/mp4", check=check, metadata=metadata)


def refusal(storage: Storage, content: Path | bytes, key: str = "a/b.mp4") -> str:
    with pytest.raises(Transient) as refused:
        publish(storage, content, key)
    assert refused.value.code == "storage_unavailable"
    return refused.value.message


def folder_of(path: Path) -> Storage:
    return Storage(path.as_uri())


def files_in(folder: Path) -> list[str]:
    return sorted(str(at.relative_to(folder)) for at in folder.rglob("*") if at.is_file())


def test_a_file_is_published_under_its_key(tmp_path: Path) -> None:
    part, store = tmp_path / "x.part", tmp_path / "exports"
    part.write_bytes(b"film")
    url = publish(folder_of(store), part)
    assert url == f"{store.as_uri()}/a/b.mp4"
    assert (store / "a/b.mp4").read_bytes() == b"film"
    assert files_in(store) == ["a/b.mp4"]
    assert part.exists()


def move_in(storage: Storage, part: Path, check: Callable[[], None] = lambda: None) -> str:
    return storage.publish(part, "a/b.mp4", content_type="video/mp4", check=check, is_ours=True)


def test_a_file_of_ours_is_moved_and_not_copied(tmp_path: Path) -> None:
    part, store = tmp_path / "x.part", tmp_path / "exports"
    part.write_bytes(b"film")
    publish(folder_of(store), b"old")
    inode = part.stat().st_ino
    assert move_in(folder_of(store), part) == f"{store.as_uri()}/a/b.mp4"
    assert (store / "a/b.mp4").stat().st_ino == inode
    assert (store / "a/b.mp4").read_bytes() == b"film"
    assert not part.exists()
    assert files_in(store) == ["a/b.mp4"]


def test_a_file_of_ours_stays_where_it_is_if_it_is_not_to_be_published(tmp_path: Path) -> None:
    part, store = tmp_path / "x.part", tmp_path / "exports"
    part.write_bytes(b"film")
    with pytest.raises(Told):
        move_in(folder_of(store), part, after(0))
    assert part.read_bytes() == b"film"
    assert files_in(store) == []


def test_a_file_of_ours_on_another_disk_is_copied(tmp_path: Path) -> None:
    store = tmp_path / "exports"
    with small_disk(tmp_path / "disk", size_bytes=1 << 20) as disk:
        part = disk / "x.part"
        part.write_bytes(b"film")
        move_in(folder_of(store), part)
        assert part.exists()
    assert (store / "a/b.mp4").read_bytes() == b"film"
    assert files_in(store) == ["a/b.mp4"]


def test_bytes_are_published_too(tmp_path: Path) -> None:
    publish(folder_of(tmp_path), b"<tt/>", "a/b.ttml")
    assert (tmp_path / "a/b.ttml").read_bytes() == b"<tt/>"


@pytest.mark.parametrize("name", ["a b", "a%41", "a#b", "a?b", "é", "~a+b@c"])
def test_a_folder_may_have_any_name(name: str, tmp_path: Path) -> None:
    publish(folder_of(tmp_path / name), b"film")
    assert files_in(tmp_path) == [f"{name}/a/b.mp4"]


@pytest.mark.parametrize("url", ["file://{}", "file://{}/", "FILE://{}"])
def test_a_folder_is_made_when_it_is_needed(url: str, tmp_path: Path) -> None:
    storage = Storage(url.format(tmp_path / "new/folder"))
    assert not (tmp_path / "new").exists()
    assert publish(storage, b"film").endswith("/new/folder/a/b.mp4")


def test_what_was_there_is_replaced_at_once(tmp_path: Path) -> None:
    part, final = tmp_path / "x.part", tmp_path / "exports/a/b.mp4"
    with part.open("wb") as file:
        file.truncate(LARGE_BYTES)
    storage = folder_of(tmp_path / "exports")
    publish(storage, b"old")
    seen = set()
    with ThreadPoolExecutor(1) as pool:
        publishing = pool.submit(publish, storage, part)
        while not publishing.done():
            seen.add(final.stat().st_size)
    assert seen <= {3, LARGE_BYTES}
    assert 3 in seen
    assert final.stat().st_size == LARGE_BYTES
    assert files_in(tmp_path / "exports") == ["a/b.mp4"]


def test_the_same_file_can_be_published_by_two_at_once(tmp_path: Path) -> None:
    storage = folder_of(tmp_path)
    contents = [bytes([number]) * 3_000_000 for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda content: publish(storage, content), contents))
    assert (tmp_path / "a/b.mp4").read_bytes() in contents


def test_a_file_that_is_not_there_leaves_the_old_one(tmp_path: Path) -> None:
    storage = folder_of(tmp_path / "exports")
    publish(storage, b"old")
    assert "No such file" in refusal(storage, tmp_path / "gone.part")
    assert files_in(tmp_path) == ["exports/a/b.mp4"]


@pytest.mark.parametrize(
    "key", ["../x.mp4", "a/../../x.mp4", "a/..", "..", "a/./../../x", "a\n", "/x"]
)
def test_no_key_leads_out_of_the_store(key: str, tmp_path: Path) -> None:
    message = refusal(folder_of(tmp_path / "exports"), b"film", key)
    assert message.startswith("can't store the file (STORAGE_URL): ")
    assert files_in(tmp_path) == []


def test_an_odd_key_stays_in_the_store(tmp_path: Path) -> None:
    publish(folder_of(tmp_path / "exports"), b"film", "a/%2e%2e/%2e%2e/x.mp4")
    assert len(files_in(tmp_path / "exports")) == len(files_in(tmp_path)) == 1


def test_a_place_that_cannot_be_written_to_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    message = refusal(folder_of(tmp_path / "file"), b"film")
    assert message.startswith("can't store the file (STORAGE_URL): ")
    assert "\n" not in message
    assert len(message) < 400
    with pytest.raises(Transient, match="can't write to it"):
        folder_of(tmp_path / "file").probe()


def test_a_folder_in_the_way_of_the_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "a/b.mp4").mkdir(parents=True)
    assert refusal(folder_of(tmp_path), b"film")


class Told(Exception):  # noqa: N818  (as Stopping is none)
    """What a check raises in these tests."""


def after(calls: int) -> Callable[[], None]:
    """Return a check that raises after so many calls."""
    left = iter(range(calls))

    def check() -> None:
        if next(left, None) is None:
            raise Told

    return check


def a_large_file(tmp_path: Path) -> Path:
    path = tmp_path / "x.part"
    with path.open("wb") as file:
        file.truncate(LARGE_BYTES)
    return path


def test_whoever_is_to_stop_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    storage, part = folder_of(tmp_path / "exports"), a_large_file(tmp_path)
    publish(storage, b"old")
    calls = 0

    def count() -> None:
        nonlocal calls
        calls += 1

    publish(storage, part, "a/c.mp4", count)
    assert calls > 10, "it asks every now and then"
    for call in range(calls):
        with pytest.raises(Told):
            publish(storage, part, check=after(call))
        assert files_in(tmp_path / "exports") == ["a/b.mp4", "a/c.mp4"]
        assert (tmp_path / "exports/a/b.mp4").read_bytes() == b"old"


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path) -> None:
    store, part = tmp_path / "exports", a_large_file(tmp_path)
    publish(folder_of(store), b"old")
    command = [sys.executable, "-m", "tests.publisher", store.as_uri(), str(part), "5"]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert files_in(store) == ["a/.b.mp4.0.staging", "a/b.mp4"]
    assert (store / "a/b.mp4").read_bytes() == b"old"
    publish(folder_of(store), part)
    assert files_in(store) == ["a/b.mp4"]
    assert (store / "a/b.mp4").stat().st_size == LARGE_BYTES


def test_a_probe_leaves_nothing(tmp_path: Path) -> None:
    folder_of(tmp_path / "exports").probe()
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("url", ["s3://", "gopher://x", "nonsense", "file://srv/exports"])
def test_a_url_of_no_store_is_told_without_its_innards(url: str) -> None:
    message = refusal(Storage(url), b"film")
    assert "Debug" not in message
    assert "Unable to recognise URL" in message or "nonsense" in message or "URL" in message


@pytest.fixture
def _aws(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2-hunter2")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")


@pytest.mark.usefixtures("_aws")
def test_an_object_store_gets_the_object_with_its_type(monkeypatch: pytest.MonkeyPatch) -> None:
    with raw_server(http(ETag='"1"', Content_Length="0")) as heard:
        monkeypatch.setenv("AWS_ENDPOINT_URL", heard.url)
        url = publish(Storage("s3://bucket/prefix/"), b"film", sha256="1234")
        assert url == "s3://bucket/prefix/a/b.mp4"
    (request,) = heard.requests
    assert request.startswith(b"PUT /bucket/prefix/a/b.mp4 HTTP/1.1\r\n")
    assert b"\r\ncontent-type: video/mp4\r\n" in request.lower()
    assert b"\r\nx-amz-meta-sha256: 1234\r\n" in request.lower()
    assert request.endswith(b"film")


@pytest.mark.usefixtures("_aws")
def test_an_object_store_that_refuses_is_told_without_its_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
    with raw_server(http("403 Forbidden", body, Content_Length=str(len(body)))) as heard:
        monkeypatch.setenv("AWS_ENDPOINT_URL", heard.url)
        message = refusal(Storage("s3://bucket/prefix"), b"film")
        with pytest.raises(Transient, match="can't write to it"):
            Storage("s3://bucket/prefix").probe()
    assert "AccessDenied" in message
    assert "hunter2" not in message
    assert b"hunter2" not in b"".join(heard.requests)


def created() -> Say:
    body = (
        b"<InitiateMultipartUploadResult><Bucket>bucket</Bucket><Key>k</Key>"
        b"<UploadId>U1</UploadId></InitiateMultipartUploadResult>"
    )
    return http(body=body, Content_Length=str(len(body)))


PART = http(ETag='"1"', Content_Length="0")


def verbs(heard: Heard) -> list[bytes]:
    return [b" ".join(request.split(b" ")[:2]) for request in heard.requests]


@pytest.mark.usefixtures("_aws")
def test_a_large_object_goes_in_parts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    part = a_large_file(tmp_path)
    done = (
        b"<CompleteMultipartUploadResult><ETag>&quot;1&quot;</ETag></CompleteMultipartUploadResult>"
    )
    answers = [created(), PART, PART, PART, http(body=done, Content_Length=str(len(done)))]
    with raw_server(*answers) as heard:
        monkeypatch.setenv("AWS_ENDPOINT_URL", heard.url)
        publish(Storage("s3://bucket"), part)
    bodies = [request.partition(b"\r\n\r\n")[2] for request in heard.requests[1:-1]]
    assert b"".join(bodies) == b"\0" * LARGE_BYTES
    assert b"uploads" in heard.requests[0].split(b"\r\n")[0]
    assert b"content-type: video/mp4" in heard.requests[0].lower()


@pytest.mark.usefixtures("_aws")
def test_whoever_is_to_stop_takes_the_upload_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    part = a_large_file(tmp_path)
    with raw_server(created(), PART) as heard:
        monkeypatch.setenv("AWS_ENDPOINT_URL", heard.url)
        with pytest.raises(Told):
            publish(Storage("s3://bucket"), part, check=after(3))
        # parts that were on their way may come after it
        wait_until(lambda: b"DELETE /bucket/a/b.mp4?uploadId=U1" in verbs(heard))
    assert sum(verb.startswith(b"POST") for verb in verbs(heard)) == 1, "it was not completed"


@pytest.mark.usefixtures("_aws")
@pytest.mark.timeout(25)  # by itself obstore gives up after 30 s
@pytest.mark.parametrize("size", [4, LARGE_BYTES])
def test_a_store_that_hangs_keeps_nobody(
    size: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    part, told = a_large_file(tmp_path), Event()
    os.truncate(part, size)

    def check() -> None:
        if told.is_set():
            raise Told

    with raw_server(Say(hold=True)) as heard, ThreadPoolExecutor(1) as pool:
        monkeypatch.setenv("AWS_ENDPOINT_URL", heard.url)
        running = pool.submit(publish, Storage("s3://bucket"), part, check=check)
        wait_until(lambda: heard.requests)
        told.set()
        with pytest.raises(Told):
            running.result()
