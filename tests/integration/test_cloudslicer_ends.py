"""Cloud Slicer: every way in which a call can end, once and for calls that may be repeated."""

import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from emulator.server import Emulator
from tests.factories import Clock, an_asset
from tests.raw_server import Say, http, raw_server
from tests.services import free_port
from tests.slicers import make_slicer
from worker.cloudslicer import CloudSlicer
from worker.errors import ExportError, OutcomeUnknown, Permanent, Transient


@dataclass(frozen=True)
class Call:
    """A call to make, and what it raises when its outcome is open."""

    path: str
    make: Callable[[CloudSlicer], object]
    unsure: type[ExportError]


CALLS = [
    Call("jobs/create_export", lambda c: c.create_export(an_asset(), aaclc=False), OutcomeUnknown),
    Call("jobs/get", lambda c: c.get_job("f" * 32), Transient),
    Call("jobs/list", lambda c: c.list_jobs(limit=1), Transient),
    Call("jobs/cancel", lambda c: c.cancel_job("f" * 32), Transient),
    Call("jobs/delete", lambda c: c.delete_jobs(["f" * 32]), Transient),
]
each_call = pytest.mark.parametrize("call", CALLS, ids=lambda call: call.path)
DATE = "Thu, 01 Jan 2026 12:01:30 GMT"


def failure(call: Call, url: str, **options: Any) -> Transient:
    """Return what a call that is not refused ended in."""
    with pytest.raises(Transient) as failed:
        call.make(make_slicer(url, **options))
    return failed.value


@each_call
def test_a_refused_connection_did_nothing(call: Call) -> None:
    error = failure(call, f"http://127.0.0.1:{free_port()}")
    assert (type(error), error.code) == (Transient, "uplynk_unreachable")


@each_call
@pytest.mark.parametrize("host", ["nowhere.invalid", "a" * 64 + ".invalid", "a..invalid"])
def test_a_name_without_an_address_did_nothing(call: Call, host: str) -> None:
    error = failure(call, f"http://{host}")
    assert (type(error), error.code) == (Transient, "uplynk_unreachable")


@each_call
def test_a_connection_that_is_not_accepted_did_nothing(call: Call) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        address = listening.getsockname()
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:  # they fill the backlog; nobody accepts
            one.settimeout(0)
            one.connect_ex(address)
        error = failure(call, f"http://127.0.0.1:{address[1]}", connect_seconds=0.2)
        for one in waiting:
            one.close()
    assert (type(error), error.code) == (Transient, "uplynk_unreachable")


@each_call
def test_a_certificate_that_is_not_trusted_stops_the_call_before_it_is_made(
    call: Call, tmp_path: Path
) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is missing")
    where = ["-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "crt"), "-days", "1"]
    what = ["-subj", "/CN=127.0.0.1", "-nodes", "-newkey", "ec", "-pkeyopt"]
    subprocess.run(
        [openssl, "req", "-x509", *where, *what, "ec_paramgen_curve:prime256v1"],
        check=True,
        capture_output=True,
    )
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "crt", tmp_path / "key")
    with raw_server(http(), tls=tls) as heard:
        error = failure(call, heard.url.replace("http:", "https:"))
    assert (type(error), error.code) == (Transient, "uplynk_unreachable")
    assert heard.requests == []


@each_call
def test_tls_to_a_port_without_it_leaves_open_what_happened(call: Call) -> None:
    with raw_server(Say(b"HTTP/1.1 400 Bad Request\r\n\r\n", deaf=True)) as heard:
        error = failure(call, heard.url.replace("http:", "https:"))
    assert (type(error), error.code) == (call.unsure, "uplynk_unavailable")


@each_call
@pytest.mark.parametrize(
    "answer",
    [
        Say(),
        Say(reset=True),
        Say(hold=True),
        Say(b"SSH-2.0-OpenSSH_9.2\r\n"),
        Say(b"HTTP/1.1 200 OK\r\n", reset=True),
        Say(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b'{"error": 0'),
        Say(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b'{"error": 0', hold=True),
        Say(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}"),
        Say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        Say(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"),
        Say(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n{}"),
        Say(b"HTTP/1.1 200 " + b"x" * 100_000),
    ],
    ids=lambda answer: f"{answer.head[-25:]!r}{'-hold' * answer.hold}{'-reset' * answer.reset}",
)
def test_an_answer_that_breaks_off_leaves_open_what_happened(call: Call, answer: Say) -> None:
    with raw_server(answer) as heard:
        error = failure(call, heard.url, timeout_seconds=0.2)
    assert (type(error), error.code) == (call.unsure, "uplynk_unavailable")
    assert len(heard.requests) == 1


@each_call
@pytest.mark.parametrize(
    ("kind", "parameters"),
    [("hang", {"when": "before"}), ("reset_before", {}), ("reset_after", {})],
)
def test_silence_and_resets_leave_open_what_happened(
    call: Call, kind: str, parameters: dict[str, Any], emulator: Emulator
) -> None:
    emulator.control.fault(call.path, kind, **parameters)
    error = failure(call, emulator.url, timeout_seconds=0.3)
    assert (type(error), error.code) == (call.unsure, "uplynk_unavailable")


@pytest.mark.parametrize(
    ("kind", "made"), [("reset_before", 0), ("reset_after", 1), ("error_after", 1)]
)
def test_the_job_may_have_been_made_or_not(kind: str, made: int, emulator: Emulator) -> None:
    asset, after = an_asset(), {"status": 500} if kind == "error_after" else {}
    emulator.control.fault("jobs/create_export", kind, **after)
    with pytest.raises(OutcomeUnknown):
        make_slicer(emulator.url).create_export(asset, aaclc=False)
    assert len(emulator.control.jobs(asset)) == made


@each_call
@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.parametrize("body", ["html", "empty", "json"])
@pytest.mark.parametrize(("header", "seconds"), [(None, None), (7, 7), ("soon", None)])
def test_a_server_that_is_busy_is_waited_for(
    call: Call, status: int, body: str, header: Any, seconds: int | None, emulator: Emulator
) -> None:
    asked = {} if header is None else {"retry_after": header}
    emulator.control.fault(call.path, "status", status=status, body=body, **asked)
    error = failure(call, emulator.url)
    expected = (Transient, "uplynk_busy") if status == 429 else (call.unsure, "uplynk_unavailable")
    assert (type(error), error.code) == expected
    assert error.retry_after == (seconds and timedelta(seconds=seconds))
    assert f"HTTP {status}" in error.message


@each_call
def test_a_date_to_wait_for_is_of_the_servers_clock(call: Call) -> None:
    busy = http("503 Busy", Retry_After=DATE, Date="Thu, 01 Jan 2026 12:00:00 GMT")
    clock = Clock(datetime(2026, 1, 1, 11, 50, tzinfo=UTC))
    with raw_server(busy) as heard:
        assert failure(call, heard.url, now=clock).retry_after == timedelta(seconds=90)
    with raw_server(http("503 Busy", Retry_After=DATE)) as heard:
        assert failure(call, heard.url, now=clock).retry_after == timedelta(seconds=690)


@each_call
@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        ("html", {}),
        ("empty", {}),
        ("status", {"status": 404, "body": "html"}),
        ("status", {"status": 400, "body": "empty"}),
        ("error", {"body": "empty"}),
    ],
)
def test_an_answer_without_an_envelope_leaves_open_what_happened(
    call: Call, kind: str, parameters: dict[str, Any], emulator: Emulator
) -> None:
    emulator.control.fault(call.path, kind, **parameters)
    error = failure(call, emulator.url)
    assert (type(error), error.code) == (call.unsure, "uplynk_unreadable")


@each_call
@pytest.mark.parametrize("location", ["http://[", "/\xff", "http://127.0.0.1:1/", "file:///x", ""])
def test_a_redirect_is_not_even_read(call: Call, location: str) -> None:
    with raw_server(http("307 Elsewhere", Content_Length="0", Location=location)) as heard:
        error = failure(call, heard.url)
    assert (type(error), error.code) == (call.unsure, "uplynk_unreadable")
    assert len(heard.requests) == 1


@each_call
@pytest.mark.parametrize("status", [401, 403])
def test_a_shut_door_is_for_us_to_open(call: Call, status: int, emulator: Emulator) -> None:
    emulator.control.fault(call.path, "status", status=status)
    error = failure(call, emulator.url)
    assert (type(error), error.code) == (Transient, "uplynk_credentials")


@each_call
@pytest.mark.parametrize("status", [200, 400, 404, 409, 422])
@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({}, "uplynk_refused"),
        ({"msg": "Too long"}, "uplynk_refused"),
        ({"msg": "Not found"}, "uplynk_not_found"),
    ],
)
def test_a_refusal_is_final(
    call: Call, status: int, said: dict[str, str], code: str, emulator: Emulator
) -> None:
    emulator.control.fault(call.path, "error", status=status, code=9, **said)
    with pytest.raises(Permanent) as refused:
        call.make(make_slicer(emulator.url))
    assert refused.value.code == code
    assert "error 9" in refused.value.message
    assert said.get("msg", "no reason") in refused.value.message


@pytest.mark.parametrize("call", CALLS[:2], ids=lambda call: call.path)
@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("error", None),
        ("error", "0"),
        ("error", [0]),
        ("job", None),
        ("job", []),
        ("job", "x"),
        ("id", None),
        ("id", 7),
        ("id", ""),
        ("state", None),
        ("state", ["done"]),
    ],
)
def test_an_answer_that_is_spoilt_leaves_open_what_happened(
    call: Call, member: str, value: object, emulator: Emulator
) -> None:
    slicer = make_slicer(emulator.url)
    job = slicer.create_export(an_asset(), aaclc=False)
    for missing in (True, False):
        given = {"missing": True} if missing else {"value": value}
        emulator.control.fault(call.path, "malformed", member=member, times=1, **given)
        make = call.make if call.unsure is OutcomeUnknown else lambda c: c.get_job(job.id)
        with pytest.raises(Transient) as failed:
            make(slicer)
        assert (type(failed.value), failed.value.code) == (call.unsure, "uplynk_unreadable")
