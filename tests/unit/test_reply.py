"""Reply: whatever comes back, a call ends in one of the documented ways."""

import json
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.cloudslicer import reply
from worker.errors import ExportError, OutcomeUnknown, Permanent, Transient

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SIGNATURE = "0123456789abcdef" * 4

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["error", "msg", "job"]) | st.text(), inner, max_size=4)
    ),
    max_leaves=8,
)
statuses = st.sampled_from([200, 201, 204, 301, 400, 401, 403, 404, 409, 429, 500, 502, 503, 599])


def answer(body: bytes, status: int = 200) -> requests.Response:
    response = requests.Response()
    response.status_code = status
    response.raw = BytesIO(body)
    return response


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
@pytest.mark.parametrize("body", [b"", b"<html>", b'{"error": 0}', b'{"error": 1}'])
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


@pytest.mark.parametrize("charset", ["undefined", "idna", "nonsense", "hex", "utf-16"])
def test_the_charset_of_the_headers_does_not_matter(charset: str) -> None:
    response = answer(b'{"error": 0}')
    response.headers["Content-Type"] = f"application/json; charset={charset}"
    envelope = reply.read(response, call="jobs/get", once=True, now=NOW)
    assert envelope == {"error": 0}


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
    assert reply.retry_after(header, NOW) == expected


@settings(deadline=None)
@given(header=st.text(st.characters(max_codepoint=255)))
def test_no_retry_after_breaks_the_reader(header: str) -> None:
    wait = reply.retry_after(header, NOW)
    assert wait is None or wait >= timedelta()


def outcome(body: bytes, status: int, *, once: bool) -> Any:
    try:
        return reply.read(answer(body, status), call="jobs/get", once=once, now=NOW)
    except ExportError as error:
        return error


@settings(deadline=None)
@given(data=json_values, status=statuses, once=st.booleans())
def test_any_json_ends_in_an_envelope_or_a_documented_error(
    data: object, status: int, *, once: bool
) -> None:
    end = outcome(json.dumps(data).encode(), status, once=once)
    unsure = OutcomeUnknown if once else Transient
    assert type(end) in {dict, Transient, Permanent, unsure}
    assert str(end).encode()


@settings(deadline=None)
@given(body=st.binary(), status=statuses, once=st.booleans())
def test_any_bytes_end_in_a_documented_error(body: bytes, status: int, *, once: bool) -> None:
    assert outcome(body, status, once=once).code.startswith("uplynk_")
