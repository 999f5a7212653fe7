"""Cloud Slicer: any bytes under any status, over real HTTP, and each call ends as documented."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from tests.envelopes import STABLE, STATUSES, bodies, decoded, error_of, headers, is_storable
from tests.factories import ACCOUNT
from tests.marks import repeats
from tests.slicers import real_now
from worker.cloudslicer import CloudSlicer, Job
from worker.errors import ExportError, OutcomeUnknown, Permanent, Transient

pytestmark = repeats

KEY = "hunter2-hunter2"
CALLS: dict[str, Callable[[CloudSlicer], Any]] = {
    "create_export": lambda slicer: slicer.create_export("a", aaclc=False),
    "get": lambda slicer: slicer.get_job("j"),
    "list": lambda slicer: slicer.list_jobs(limit=3),
    "cancel": lambda slicer: slicer.cancel_job("j"),
    "asset": lambda slicer: slicer.get_asset("a"),
    "delete": lambda slicer: slicer.delete_jobs(["j"]),
}
# An answer without a body by its status, which no body may follow.
BODILESS = {204, 304}


@dataclass
class Answering:
    """A client, and what the server behind it answers."""

    slicer: CloudSlicer
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    asked: int = 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 20  # one segment an answer: the next would wait 40 ms for an acknowledgement

    def do_POST(self) -> None:
        server: Any = self.server
        answering: Answering = server.answering
        answering.asked += 1
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response_only(answering.status)
        for name, value in answering.headers.items():
            self.send_header(name, value)
        if answering.status not in BODILESS:
            self.send_header("Content-Length", str(len(answering.body)))
        self.end_headers()
        if answering.status not in BODILESS:
            self.wfile.write(answering.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="session")
def answering() -> Iterator[Answering]:
    """Give a client of a server that answers whatever it is told to."""
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server,
        requests.Session() as session,
    ):
        server.daemon_threads = True
        url = f"http://127.0.0.1:{server.server_address[1]}"
        slicer = CloudSlicer(
            url, owner=ACCOUNT, key=SecretStr(KEY), http=lambda: session, now=real_now
        )
        server.answering = Answering(slicer)  # type: ignore[attr-defined]
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.answering  # type: ignore[attr-defined]
        session.close()
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("call", list(CALLS))
@settings(STABLE, max_examples=100)
@given(status=st.sampled_from(STATUSES), extra=headers, body=bodies)
def test_any_answer_ends_as_documented(
    call: str, status: int, extra: dict[str, str], body: bytes, answering: Answering
) -> None:
    answering.status, answering.headers, answering.body = status, extra, body
    answering.asked = 0
    once = call == "create_export"
    try:
        end = CALLS[call](answering.slicer)
    except ExportError as error:
        _check_error(error, status, body, once=once)
        assert answering.asked <= 2
        return
    assert answering.asked == 1
    assert status < 500
    assert error_of(body) == 0
    _check_result(end, body)


def _check_error(error: ExportError, status: int, body: bytes, *, once: bool) -> None:
    code = None if status in BODILESS else error_of(body)
    assert type(error) in {Transient, Permanent, OutcomeUnknown}
    assert once or type(error) is not OutcomeUnknown
    if type(error) is Transient and once:
        assert error.code in {"uplynk_busy", "uplynk_credentials"}
        assert code != 0
    if type(error) is Permanent:
        assert code
        assert status < 500
    assert is_storable(str(error))
    assert len(str(error)) < 700
    assert KEY not in str(error)


def _check_result(end: object, body: bytes) -> None:
    found = end if isinstance(end, list) else [end]
    for each in found:
        if isinstance(each, Job):
            assert all(map(is_storable, [each.id, each.word, each.asset or "", each.last_error]))
        else:
            assert isinstance(each, dict)
            assert all(type(text) is str for pair in each.items() for text in pair)
    if isinstance(end, Job):
        assert decoded(body)["job"]["id"] == end.id
