"""How many jobs of Uplynk's list come at once: what is refused, and what is cut."""

from datetime import UTC, datetime

import pytest

from worker.cloudslicer.pages import LEAST, REMEMBERED, PageSize

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def page_size(most: int = 100) -> PageSize:
    return PageSize(most, now=lambda: NOW)


def test_smaller_pages_are_asked_for_down_to_the_least() -> None:
    assert list(page_size()) == [100, 50, 25, LEAST]
    assert list(page_size(7)) == [7]


def test_what_was_refused_is_not_asked_for_until_it_is_forgotten() -> None:
    now = NOW
    size = PageSize(100, now=lambda: now)
    size.fits(25)
    assert (size.size, next(iter(size))) == (25, 25)
    now += REMEMBERED
    assert next(iter(size)) == 100


def test_a_page_that_is_cut_tells_how_many_come_and_is_asked_for_whole() -> None:
    size = page_size()
    size.came(25, is_last=False)
    assert (size.size, next(iter(size))) == (25, 100)


def test_the_last_page_of_the_list_tells_nothing() -> None:
    size = page_size()
    size.came(25, is_last=True)
    assert size.size == 100


@pytest.mark.parametrize(("number", "expected"), [(40, 40), (100, 100)])
def test_where_more_come_than_did_that_is_true(number: int, expected: int) -> None:
    size = page_size()
    size.came(25, is_last=False)
    size.came(number, is_last=False)
    assert size.size == expected
