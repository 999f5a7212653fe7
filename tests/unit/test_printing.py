"""Printing: others' text on lines of so many cells."""

import pytest
from rich.cells import cell_len

from worker import printing


@pytest.mark.parametrize(
    ("text", "cells", "fits"),
    [
        ("short", 5, "short"),
        ("longer", 5, "long…"),
        ("日本語", 6, "日本語"),
        ("日本語", 5, "日本…"),
        ("日本語", 4, "日…"),  # half a character is none
        ("a b", 2, "a…"),
        ("\x1b[31mred\n", None, "\ufffd[31mred\ufffd"),
    ],
)
def test_a_text_is_cut_to_its_cells(text: str, cells: int | None, fits: str) -> None:
    assert printing.fitted(text, cells) == fits


def test_a_filled_text_has_its_cells() -> None:
    assert printing.filled("日本", 6) == "日本  "


@pytest.mark.parametrize("cells", [10, 11, 33])
def test_a_folded_text_loses_nothing(cells: int) -> None:
    text = "job a29a0bf647454d70bbb9b13d6896a108 日本語日本語日本語 was done"
    lines = list(printing.folded(text, cells))
    assert all(cell_len(line) <= cells for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_without_a_width_nothing_is_folded() -> None:
    assert list(printing.folded("one two " * 50, None)) == [("one two " * 50).strip()]
    assert list(printing.folded("", 10)) == [""]
