"""Printing: text of others' on lines of so many cells as a terminal has, and times in words."""

from collections.abc import Iterator
from datetime import timedelta

from rich.cells import cell_len, chop_cells, set_cell_size

CUT = "…"


def plain(text: str) -> str:
    """Return the text without what would move a terminal's cursor, or change its colours."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def fitted(text: str, cells: int | None) -> str:
    """Return the text on one line of so many cells at the most; of a longer one its beginning.

    None is no bound: who reads from a pipe gets all of it.
    """
    text = plain(text)
    if cells is None or cell_len(text) <= cells:
        return text
    return set_cell_size(text, max(cells - 1, 0)).rstrip() + CUT


def filled(text: str, cells: int) -> str:
    """Return the text, with blanks behind it where it has fewer cells."""
    return text + " " * (cells - cell_len(text))


def folded(text: str, cells: int | None) -> Iterator[str]:
    """Give the text in lines of so many cells at the most, broken between words if that can be."""
    line = ""
    for word in plain(text).split():
        longer = f"{line} {word}" if line else word
        if cells is None or cell_len(longer) <= cells:
            line = longer
            continue
        if line:
            yield line
        *whole, line = chop_cells(word, cells)
        yield from whole
    yield line


def span(time: timedelta | None) -> str:
    """Return a time as a person reads it, of two units at the most."""
    if time is None:
        return "unknown"
    minutes, seconds = divmod(round(time.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
