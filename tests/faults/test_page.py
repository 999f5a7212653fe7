"""docs/faults.md is what is played out, row by row: a test's name tells which is not."""

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.faults import page
from tests.faults.cases import Case, cases
from tests.faults.play import STILL, Board, Outcome, board, play
from tests.marks import repeats

WRITTEN = page.PATH.read_text()


@pytest.fixture(scope="session")
def made() -> Iterator[Board]:
    """Give what is played on."""
    with board() as made:
        yield made


@repeats
@pytest.mark.parametrize("case", list(cases()), ids=lambda case: f"{case.stage.call}-{case}")
def test_what_becomes_of_an_export_is_as_the_page_says(case: Case, made: Board) -> None:
    once, always = (play(case, made, times=times) for times in (1, None))
    assert once.jobs <= 1
    assert always.jobs <= 1
    assert not once.end.endswith(STILL)
    assert not always.end.endswith(STILL)
    assert page.row(case, once, always) in WRITTEN.splitlines()


def shape(text: str) -> list[str]:
    """Return each line, and of a row its first cell only."""
    return [line.split(" | ")[0] for line in text.splitlines()]


def test_the_page_has_each_row_and_no_other() -> None:
    nothing = Outcome((), "", Counter(), 0, 0.0)
    assert shape(WRITTEN) == shape(page.page(lambda case: page.row(case, nothing, nothing)))
