"""Errors: what they tell survives the way out of a worker process."""

import copy
import pickle
from datetime import timedelta

import pytest

from worker.errors import ExportError, OutcomeUnknown, Permanent, Transient
from worker.transfer.fetch import UrlGone

ERRORS = [
    Transient("code", "a sentence", retry_after=timedelta(seconds=7)),
    OutcomeUnknown("code", "a sentence", retry_after=timedelta(seconds=7)),
    Permanent("code", "a sentence"),
    UrlGone("file_unavailable", "HTTP 404", is_not_found=True),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_can_be_pickled_and_copied(error: ExportError) -> None:
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301  (our own)
        assert type(twin) is type(error)
        assert vars(twin) == vars(error)
        assert str(twin) == str(error)


def test_its_text_is_the_code_and_the_sentence() -> None:
    assert str(Permanent("code", "a sentence")) == "code: a sentence"


def test_an_unknown_outcome_is_transient_for_who_may_repeat() -> None:
    assert issubclass(OutcomeUnknown, Transient)
    assert not issubclass(Permanent, Transient)
