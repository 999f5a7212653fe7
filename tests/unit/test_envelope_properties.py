"""Envelope: whatever comes back, a call ends in one of the ways of the table in reply.py."""

import json
import pickle
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.envelopes import STABLE, STATUSES, bodies, error_of, headers, is_storable
from tests.marks import repeats
from worker.cloudslicer import reply
from worker.cloudslicer.wire import Answer
from worker.errors import ExportError, OutcomeUnknown, Permanent, Transient

pytestmark = repeats

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
MANY = settings(STABLE, max_examples=500)
SECRET = "hunter2-hunter2"
SIGNATURE = "0123456789abcdef" * 4

answers = st.builds(Answer, st.sampled_from(STATUSES) | st.integers(100, 999), headers, bodies)


def outcome(answer: Answer, *, once: bool) -> Any:
    try:
        found = reply.parse(answer, hide=[SECRET])
        return reply.read(found, call="jobs/get", once=once, now=NOW)
    except ExportError as error:
        return error


@MANY
@given(answer=answers, once=st.booleans())
def test_any_answer_ends_in_an_envelope_or_a_documented_error(
    answer: Answer, *, once: bool
) -> None:
    end = outcome(answer, once=once)
    if isinstance(end, Mapping):
        assert error_of(answer.body) == end["error"] == 0
        assert type(end["error"]) is int
        return
    assert type(end) in {Transient, OutcomeUnknown, Permanent}
    assert once or type(end) is not OutcomeUnknown
    assert end.code.startswith("uplynk_")
    assert is_storable(end.message)
    assert len(end.message) < 700
    assert str(pickle.loads(pickle.dumps(end))) == str(end)  # noqa: S301  (our own)


@MANY
@given(answer=answers)
def test_nothing_is_final_but_what_the_api_itself_refuses(answer: Answer) -> None:
    end = outcome(answer, once=True)
    if isinstance(end, Permanent):
        assert error_of(answer.body)
        assert answer.status < 500
        assert answer.status not in {401, 403, 429}
        assert not reply.parse(answer).is_not_let_in


@MANY
@given(answer=answers)
@example(answer=Answer(429, {}, b'{"error": 0, "job": {"id": "j", "state": "waiting"}}'))
@example(answer=Answer(403, {}, b'{"error": 0}'))
@example(answer=Answer(200, {}, b'{"error": 0, "msg": "Bad signature"'))
def test_a_job_that_may_have_been_made_is_never_taken_for_one_that_was_not(answer: Answer) -> None:
    end = outcome(answer, once=True)
    if type(end) is Transient:
        assert end.code in {"uplynk_busy", "uplynk_credentials"}
        assert error_of(answer.body) != 0
        assert answer.status < 500


@MANY
@given(answer=answers)
def test_what_is_repeated_was_surely_refused(answer: Answer) -> None:
    if reply.parse(answer).refuses_the_signature:
        assert error_of(answer.body)
        end = outcome(answer, once=True)
        assert (type(end), end.code) == (Transient, "uplynk_credentials")


@MANY
@given(answer=answers)
def test_a_wait_that_is_asked_for_is_never_negative(answer: Answer) -> None:
    end = outcome(answer, once=False)
    wait = end.retry_after if isinstance(end, Transient) else None
    assert wait is None or wait >= timedelta()


@settings(STABLE, max_examples=300)
@given(
    words=st.lists(st.sampled_from([SECRET, SIGNATURE, "x" * 495, "said", "\0", "\ud800"])),
    between=st.sampled_from([" ", "\0", "\n", '"']),
    status=st.sampled_from(STATUSES),
)
def test_no_message_echoes_the_key_or_a_signature(
    words: list[str], between: str, status: int
) -> None:
    body = json.dumps({"error": 5, "msg": between.join(words)}).encode()
    end = outcome(Answer(status, {}, body), once=True)
    assert SECRET not in str(end)
    assert SIGNATURE not in str(end)
