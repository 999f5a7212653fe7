"""Takes the pictures of the docs: `python -m tests.screenshots [NAME...]` (make screenshots)."""

import logging
import sys
from importlib import import_module
from pathlib import Path

from worker import logs

DOCS = Path(__file__).parents[2] / "docs"
NAMES = ("console", "flower", "watch")


def main(names: list[str]) -> None:
    """Take those that are named, or all."""
    logs.configure("console", level=logging.WARNING)
    for name in names or NAMES:
        for path in import_module(f"tests.screenshots.{name}").take(DOCS):
            print(f"{path.relative_to(DOCS.parent)}  {path.stat().st_size / 1000:.0f} kB")  # noqa: T201  (its result)


if __name__ == "__main__":
    main(sys.argv[1:])
