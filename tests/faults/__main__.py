"""Writes docs/faults.md: `python -m tests.faults`."""

import logging
from pathlib import Path
from tempfile import TemporaryDirectory

from emulator.server import Emulator
from tests.faults import page
from tests.faults.play import uplynk


def main() -> None:
    """Play every case, and write down what became of it."""
    logging.disable()
    with TemporaryDirectory() as media, Emulator(uplynk(Path(media))) as emulator:
        page.PATH.write_text(page.page(lambda case: page.played(case, emulator)))


if __name__ == "__main__":
    main()
