import pytest

from emulator.ranges import UnsatisfiableError, unchanged, wanted


@pytest.mark.parametrize(
    ("header", "expected"),
    [(None, None), ("bytes=0-9", (0, 10)), ("bytes=5-", (5, 100)), ("bytes=-10", (90, 100)),
     ("bytes=-500", (0, 100)), ("bytes=90-500", (90, 100)), ("bytes=99-99", (99, 100)),
     ("bytes=9-5", None), ("bytes=-", None), ("bytes=0-1,5-6", None), ("lines=0-9", None),
     ("bytes=a-b", None), ("", None)],
)  # fmt: skip
def test_a_range_of_a_hundred_bytes(header: str | None, expected: tuple[int, int] | None) -> None:
    assert wanted(header, 100) == expected


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_a_range_outside_the_file_cannot_be_satisfied(header: str) -> None:
    with pytest.raises(UnsatisfiableError):
        wanted(header, 100)


DATE = "Fri, 15 Jan 2027 08:00:00 GMT"
DATE_SECONDS = 1_800_000_000


@pytest.mark.parametrize(
    ("if_range", "same"),
    [(None, True), ('"abc"', True), ('"abd"', False), ('W/"abc"', False), (DATE, True),
     ("Fri, 15 Jan 2027 08:00:01 GMT", False), ("yesterday", False)],
)  # fmt: skip
def test_if_range_holds_only_for_the_very_file(if_range: str | None, same: bool) -> None:
    assert unchanged(if_range, '"abc"', DATE_SECONDS) is same


def test_without_an_etag_none_matches() -> None:
    assert not unchanged('"abc"', None, DATE_SECONDS)
