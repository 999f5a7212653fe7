"""Lacking: a program that is not there stops a laptop's tests no more than a service does."""

import pytest

from tests.services import found


def test_on_a_laptop_a_test_skips_and_in_ci_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-program is missing"):
        found("no-such-program")
    monkeypatch.setenv("CI", "1")
    with pytest.raises(SystemExit, match="no-such-program is missing"):
        found("no-such-program")


def test_who_runs_it_without_tests_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    with pytest.raises(SystemExit, match="apt-get install"):
        found("no-such-program")
