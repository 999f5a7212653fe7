"""Writes docs/faults.md: `python -m tests.faults`."""

import logging

from tests.faults import page
from tests.faults.play import board


def main() -> None:
    """Play every case, and write down what became of it."""
    logging.disable()
    with board() as made:
        page.PATH.write_text(page.page(lambda case: page.played(case, made)))


if __name__ == "__main__":
    main()
