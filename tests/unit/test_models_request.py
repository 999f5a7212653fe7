"""Request: where a wish stands, and why it failed."""

from datetime import UTC, datetime

import pytest

from models import Export, Request, State

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def a_failed_export() -> Export:
    return Export(state=State.FAILED, error_code="export_error", error_message="no such asset")


@pytest.mark.parametrize("state", list(State))
def test_a_request_stands_where_its_export_stands(state: State) -> None:
    assert Request(export=Export(state=state)).state is state


def test_a_request_without_an_export_was_refused() -> None:
    request = Request(error_code="invalid_request", error_message="asset: is missing")
    assert request.state is State.FAILED
    assert request.error == ("invalid_request", "asset: is missing")


def test_a_request_fails_with_its_export() -> None:
    assert Request(export=a_failed_export()).error == ("export_error", "no such asset")


def test_a_request_has_no_error_while_its_export_has_none() -> None:
    assert Request(export=Export(state=State.EXPORTING)).error is None


def test_a_code_without_a_sentence_is_an_error_all_the_same() -> None:
    assert Request(error_code="invalid_request").error == ("invalid_request", "")


def test_a_withdrawn_request_is_cancelled_whatever_becomes_of_the_export() -> None:
    request = Request(export=a_failed_export(), cancelled_at=NOW)
    assert request.state is State.CANCELLED
    assert request.error is None
