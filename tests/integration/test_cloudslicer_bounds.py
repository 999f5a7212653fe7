"""Cloud Slicer: no answer takes longer than a call may, and none fills the memory."""

import resource
import shutil
import ssl
import subprocess
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import requests
from pydantic import SecretStr

from tests.factories import ACCOUNT, KEY
from tests.raw_server import Say, http, raw_server
from tests.slicers import make_slicer, real_now
from worker.cloudslicer import CloudSlicer, wire
from worker.errors import OutcomeUnknown

EMPTY_LIST = b'{"error": 0, "jobs": []}'
GIGABYTES = 4 << 30


class Server(ThreadingHTTPServer):
    """Answers every POST with `body`, over connections that it keeps open."""

    daemon_threads = True
    body: Iterator[bytes]
    headers: dict[str, str]
    asked_from: list[Any]
    sent_bytes: int = 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server: Any = self.server
        server.asked_from.append(self.client_address)
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        for name, value in server.headers.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            for piece in server.body():
                self.wfile.write(piece)
                server.sent_bytes += len(piece)
        except OSError:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(body: Any, **headers: str) -> Iterator[tuple[str, Server]]:
    with Server(("127.0.0.1", 0), _Handler) as server:
        server.body, server.asked_from = body, []
        server.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", server
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    "dripping",
    [
        Say(b"HTTP/1.1 200 OK", drip_seconds=0.05),
        Say(b"HTTP/1.1 200 OK\r\nX: y\r\n", drip_seconds=0.05, from_byte=17),
        Say(b"HTTP/1.1 100 Continue\r\n\r\n", drip_seconds=0.02),
        Say(b"HTTP/1.1 200 OK\r\n\r\n ", drip_seconds=0.05, from_byte=19),
        Say(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n \r\n",
            drip_seconds=0.05,
            from_byte=47,
        ),
    ],
    ids=["status", "headers", "100s", "body", "chunks"],
)
def test_an_answer_that_drips_is_cut_off(dripping: Say) -> None:
    # unbounded, these calls never end: pytest's own time limit is what would fail
    with raw_server(dripping) as heard, pytest.raises(OutcomeUnknown) as failed:
        make_slicer(heard.url, timeout_seconds=0.5).create_export("a", aaclc=False)
    assert failed.value.code == "uplynk_unavailable"
    assert len(heard.requests) == 1


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Give a certificate of 127.0.0.1 that signs itself, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is missing")
    folder = tmp_path_factory.mktemp("tls")
    where = ["-keyout", str(folder / "key"), "-out", str(folder / "crt"), "-days", "1", "-nodes"]
    what = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    subprocess.run([openssl, "req", "-x509", *where, *what, *kind], check=True, capture_output=True)
    return folder / "crt", folder / "key"


def test_over_tls_the_same_is_true(certificate: tuple[Path, Path]) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*certificate)
    dripping = Say(b"HTTP/1.1 200 OK\r\nX: y\r\n", drip_seconds=0.05, from_byte=17)
    with raw_server(http(body=EMPTY_LIST), dripping, tls=tls) as heard, requests.Session() as http_:
        http_.trust_env, http_.verify = False, str(certificate[0])  # or the environment's wins
        slicer = CloudSlicer(
            heard.url.replace("http:", "https:"),
            owner=ACCOUNT,
            key=SecretStr(KEY),
            http=lambda: http_,
            now=real_now,
            timeout_seconds=0.5,
        )
        assert slicer.list_jobs(limit=1) == []
        with pytest.raises(OutcomeUnknown):
            slicer.create_export("a", aaclc=False)
    assert len(heard.requests) == 2


def test_an_answer_that_comes_slowly_and_in_time_is_taken() -> None:
    def slowly() -> Iterator[bytes]:
        for byte in EMPTY_LIST:
            time.sleep(0.01)
            yield bytes([byte])

    with serving(slowly, Content_Length=str(len(EMPTY_LIST))) as (url, _):
        assert make_slicer(url).list_jobs(limit=1) == []


def memory_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_an_answer_without_end_is_no_answer_and_is_not_kept() -> None:
    piece = b" " * (1 << 20)

    def endless() -> Iterator[bytes]:
        for _ in range(GIGABYTES >> 20):
            yield piece

    before = memory_bytes()
    with (
        serving(endless, Content_Length=str(GIGABYTES)) as (url, server),
        pytest.raises(OutcomeUnknown) as failed,
    ):
        make_slicer(url, timeout_seconds=60.0).create_export("a", aaclc=False)
    assert failed.value.code == "uplynk_unreadable"
    assert server.sent_bytes < 3 * wire.MOST_BYTES
    assert memory_bytes() - before < 8 * wire.MOST_BYTES


def test_an_answer_that_unpacks_to_gigabytes_is_not_unpacked() -> None:
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(b" " * (1 << 20)) for _ in range(1 << 10)) + packer.flush()
    assert len(bomb) < wire.MOST_BYTES / 8
    before = memory_bytes()
    headers = {"Content_Encoding": "gzip", "Content_Length": str(len(bomb))}
    with (
        serving(lambda: [bomb], **headers) as (url, _),
        pytest.raises(OutcomeUnknown) as failed,
    ):
        make_slicer(url, timeout_seconds=60.0).create_export("a", aaclc=False)
    assert failed.value.code == "uplynk_unreadable"
    assert memory_bytes() - before < 8 * wire.MOST_BYTES


def test_an_answer_of_almost_that_size_is_read() -> None:
    body = EMPTY_LIST.ljust(wire.MOST_BYTES)
    with raw_server(http(body=body)) as heard:
        assert make_slicer(heard.url, timeout_seconds=30.0).list_jobs(limit=1) == []
    with raw_server(http(body=body + b" ")) as heard, pytest.raises(OutcomeUnknown):
        make_slicer(heard.url, timeout_seconds=30.0).create_export("a", aaclc=False)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (EMPTY_LIST, {"Content_Length": str(len(EMPTY_LIST))}),
        (b"18\r\n" + EMPTY_LIST + b"\r\n0\r\n\r\n", {"Transfer_Encoding": "chunked"}),
    ],
    ids=["length", "chunked"],
)
def test_calls_that_follow_each_other_share_a_connection(
    body: bytes, headers: dict[str, str]
) -> None:
    with serving(lambda: [body], **headers) as (url, server), requests.Session() as session:
        slicer = CloudSlicer(
            url, owner=ACCOUNT, key=SecretStr(KEY), http=lambda: session, now=real_now
        )
        for _ in range(4):
            assert slicer.list_jobs(limit=1) == []
        assert len(set(server.asked_from)) == 1
        assert len(server.asked_from) == 4


def test_no_password_of_netrc_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password hunter2\ndefault login d password d\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with raw_server(http(body=EMPTY_LIST)) as heard:
        make_slicer(heard.url).list_jobs(limit=1)
    assert len(heard.requests) == 1
    assert b"authorization" not in heard.requests[0].lower()
