"""Reply: whatever comes back, a call ends in one of the documented ways."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.cloudslicer import reply
from worker.cloudslicer.wire import Answer
from worker.errors import ExportError, OutcomeUnknown, Permanent, Transient
from worker.headers import retry_after

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SIGNATURE = "0123456789abcdef" * 4


def answer(body: bytes, status: int = 200, **headers: str) -> reply.Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return reply.parse(Answer(status, named, body))


def read(body: bytes | dict[str, Any], *, status: int = 200, once: bool = False) -> Any:
    packed = body if isinstance(body, bytes) else json.dumps(body).encode()
    return reply.read(answer(packed, status), call="jobs/get", once=once, now=NOW)


def refused(body: bytes | dict[str, Any], *, status: int = 200, once: bool = False) -> ExportError:
    with pytest.raises(ExportError) as caught:
        read(body, status=status, once=once)
    return caught.value


@pytest.mark.parametrize("status", [200, 201, 400, 404])
def test_an_error_of_0_is_success_whatever_the_status_below_500(status: int) -> None:
    assert read({"error": 0, "new": [1]}, status=status) == {"error": 0, "new": [1]}


@pytest.mark.parametrize("once", [True, False])
@pytest.mark.parametrize("status", [200, 400, 404, 409])
def test_another_error_is_a_refusal(status: int, *, once: bool) -> None:
    error = refused({"error": 7, "msg": "No audio"}, status=status, once=once)
    assert type(error) is Permanent
    assert str(error) == "uplynk_refused: Uplynk refused jobs/get (error 7): No audio"


@pytest.mark.parametrize("message", [{}, {"msg": None}, {"msg": 5}, {"msg": ""}, {"msg": ["x"]}])
def test_a_refusal_without_a_reason_says_so(message: dict[str, Any]) -> None:
    assert refused({"error": -1, **message}).message.endswith("(error -1): it gave no reason")


@pytest.mark.parametrize(
    "text",
    [
        "Not found",
        "job not found.",
        "The job could not be found",
        "Job cannot be found",
        "No such job",
        "it doesn't exist",
        "IT DOES NOT EXIST",
        "couldn't be found",
    ],
)
def test_not_found_has_a_code_of_its_own(text: str) -> None:
    assert refused({"error": 1, "msg": text}).code == "uplynk_not_found"


@pytest.mark.parametrize(
    "text", ["Job is completed", "Found nothing to do", "No founder", "It is not a foundation"]
)
def test_other_refusals_are_not_taken_for_not_found(text: str) -> None:
    assert refused({"error": 1, "msg": text}).code == "uplynk_refused"


@pytest.mark.parametrize(
    ("word", "is_gone"),
    [
        ("deleted", True),
        ("Deleted\n", True),
        ("Not found", True),
        ("no such job", True),
        ("", False),
        ("not deleted", False),
        ("Job is assigned", False),
    ],
)
def test_a_job_is_gone_where_it_was_deleted_or_is_not_found(word: str, *, is_gone: bool) -> None:
    assert reply.is_gone(word) is is_gone


@pytest.mark.parametrize("once", [True, False])
@pytest.mark.parametrize(
    "text",
    [
        "Invalid signature",
        "Bad sig",
        "timestamp too old",
        "unknown _owner",
        "Unauthorised",
        "Wrong API key",
        "Not authenticated",
        "User e1 was not found",
        "account not found",
    ],
)
def test_a_wrong_key_or_clock_ends_no_export(text: str, *, once: bool) -> None:
    error = refused({"error": 1, "msg": text}, once=once)
    assert (type(error), error.code) == (Transient, "uplynk_credentials")
    assert "UPLYNK_API_KEY" in error.message


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("body", [b"", b"<html>", b'{"error": "0"}', b'{"error": 1}'])
def test_a_door_that_is_shut_ends_no_export(status: int, body: bytes) -> None:
    error = refused(body, status=status, once=True)
    assert (type(error), error.code) == (Transient, "uplynk_credentials")


@pytest.mark.parametrize(("once", "kind"), [(True, OutcomeUnknown), (False, Transient)])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        b"0",
        b'"ok"',
        b"{}",
        b'{"error": null}',
        b'{"error": "0"}',
        b'{"error": false}',
        b'{"error": 0.0}',
        b'{"error": 0',
        b"\xff\xfe\xff",
        b'{"error": 0}x',
        b'{"error": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"error": [0]}',
    ],
    ids=lambda body: body[:20].decode("latin-1"),
)
def test_no_envelope_leaves_open_what_happened(
    body: bytes, *, once: bool, kind: type[ExportError]
) -> None:
    error = refused(body, once=once)
    assert (type(error), error.code) == (kind, "uplynk_unreadable")


@pytest.mark.parametrize(("once", "kind"), [(True, OutcomeUnknown), (False, Transient)])
@pytest.mark.parametrize("body", [b"", b"<html>", b'{"error": 0}', b'{"error": 5, "msg": "x"}'])
@pytest.mark.parametrize("status", [500, 502, 503, 504, 599])
def test_a_5xx_leaves_open_what_happened(
    status: int, body: bytes, *, once: bool, kind: type[ExportError]
) -> None:
    error = refused(body, status=status, once=once)
    assert (type(error), error.code) == (kind, "uplynk_unavailable")


@pytest.mark.parametrize(("once", "kind"), [(True, OutcomeUnknown), (False, Transient)])
@pytest.mark.parametrize("status", [401, 403, 429])
def test_a_refusal_that_says_it_succeeded_leaves_open_what_happened(
    status: int, *, once: bool, kind: type[ExportError]
) -> None:
    error = refused({"error": 0, "job": {"id": "j", "state": "waiting"}}, status=status, once=once)
    assert (type(error), error.code) == (kind, "uplynk_unreadable")


@pytest.mark.parametrize(
    ("status", "body", "refuses", "lets_in"),
    [
        (200, {"error": 1, "msg": "Bad signature"}, True, False),
        (400, {"error": 1, "msg": "Bad signature"}, True, False),
        (401, {"error": 1}, True, False),
        (403, {"error": 1, "msg": "No"}, True, False),
        (403, {"error": 0}, False, False),
        (403, b"<html>", False, False),
        (429, {"error": 1, "msg": "Bad signature"}, False, False),
        (500, {"error": 1, "msg": "Bad signature"}, False, False),
        (503, {"error": 0}, False, False),
        (200, {"error": 1, "msg": "No audio"}, False, True),
        (404, {"error": 1, "msg": "Not found"}, False, True),
        (200, {"error": 0, "msg": "Bad signature"}, False, True),
        (200, b"<html>", False, False),
        (200, {"error": "1", "msg": "Bad signature"}, False, False),
    ],
)
def test_only_the_api_itself_refuses_a_signature_or_finds_it_good(
    status: int, body: bytes | dict[str, Any], *, refuses: bool, lets_in: bool
) -> None:
    packed = body if isinstance(body, bytes) else json.dumps(body).encode()
    found = answer(packed, status)
    assert (found.refuses_the_signature, found.lets_in) == (refuses, lets_in)


def test_an_error_of_thousands_of_digits_is_no_message_of_thousands() -> None:
    error = refused(b'{"error": ' + b"9" * 4000 + b"}")
    assert type(error) is Permanent
    assert len(error.message) < 100


def test_what_is_to_be_hidden_is_left_out_wherever_it_stands() -> None:
    body = json.dumps({"error": 5, "msg": f"{'x ' * 240}hunter2-key and hunter2-key"}).encode()
    said = reply.parse(Answer(200, {}, body), hide=["hunter2-key"]).said
    assert "hunter2" not in said
    assert said.endswith("… and …")


@pytest.mark.parametrize(
    ("date", "wait"),
    [
        ("Thu, 01 Jan 2026 13:00:00 GMT", 60),
        ("soon", 3660),
        (None, 3660),
    ],
)
def test_a_retry_after_date_counts_from_the_replys_own_date(date: str | None, wait: int) -> None:
    headers = {"Retry_After": "Thu, 01 Jan 2026 13:01:00 GMT", **({"Date": date} if date else {})}
    with pytest.raises(Transient) as busy:
        reply.read(answer(b"", 503, **headers), call="jobs/get", once=False, now=NOW)
    assert busy.value.retry_after == timedelta(seconds=wait)


def test_a_message_is_kept_to_a_sentence_that_a_database_takes() -> None:
    message = refused(b'{"error": 1, "msg": "a\\u0000\\ud800' + b"x " * 900 + b'"}').message
    assert "(error 1): a?x x" in message
    assert len(message) < 600


def test_an_echo_of_the_signature_is_left_out() -> None:
    for status in (200, 500):
        error = refused(
            {"error": 1, "msg": f"bad sum {SIGNATURE} of eNp{'a' * 90}=="}, status=status
        )
        assert SIGNATURE not in str(error)
        assert "bad sum … of …" in error.message


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        (None, None),
        ("", None),
        ("0", 0),
        ("7", 7),
        (" 7 ", 7),
        ("1.5", None),
        ("-3", None),
        ("soon", None),
        ("²", None),
        ("Thu, 01 Jan 2026 12:01:00 GMT", 60),
        ("9" * 50, 10**8),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0),
        ("Thu, 01 Jan 2026 12:00:30", 30),
        (",", None),
        ("Thu, 01 Jan 2026 13:00:10 +0100", 10),
        ("Thu, 01 Jan 2026 25:00:00 GMT", None),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, wait: int | None) -> None:
    expected = None if wait is None else timedelta(seconds=wait)
    assert retry_after(header, NOW) == expected


@settings(deadline=None)
@given(header=st.text(st.characters(max_codepoint=255)))
def test_no_retry_after_breaks_the_reader(header: str) -> None:
    wait = retry_after(header, NOW)
    assert wait is None or wait >= timedelta()
