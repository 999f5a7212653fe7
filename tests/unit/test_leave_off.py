"""Leaving off: a signal that comes while it is handled is not handled within itself."""

import os
import signal
from collections.abc import Iterator

import pytest

from worker.stopping import leave_off_at

SIGNAL = signal.SIGUSR2


@pytest.fixture(autouse=True)
def before() -> Iterator[None]:
    handle = signal.getsignal(SIGNAL)
    yield
    signal.signal(SIGNAL, handle)


def test_the_handler_that_is_there_comes_afterwards_and_never_within_itself() -> None:
    said, depth = list[str](), 0

    def handle(*_: object) -> None:
        nonlocal depth
        depth += 1
        said.append(f"handled {depth}")
        if len(said) < 10:
            os.kill(os.getpid(), SIGNAL)  # as it is in the middle of it
        said.append("came to its end")
        depth -= 1

    signal.signal(SIGNAL, handle)
    leave_off_at(SIGNAL, lambda: said.append("begun"))
    for _ in range(2):
        said.clear()
        os.kill(os.getpid(), SIGNAL)
        assert said == ["begun", "handled 1", "came to its end"]


def test_where_no_handler_is_it_is_begun_all_the_same() -> None:
    said = list[str]()
    signal.signal(SIGNAL, signal.SIG_IGN)
    leave_off_at(SIGNAL, lambda: said.append("begun"))
    os.kill(os.getpid(), SIGNAL)
    assert said == ["begun"]
