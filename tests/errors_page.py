"""Writes docs/errors.md, from what the code says: `python -m tests.errors_page`."""

from pathlib import Path

from worker.remedies import REMEDIES

PATH = Path(__file__).parents[1] / "docs/errors.md"

HEAD = """\
# What can go wrong with an export

A failed export has `error_code`, one of these, and `error_message`, a sentence. A code that is
marked *retried* fails the export only after it has come for `RETRY_DEADLINE_HOURS` without a break,
and ten times at the least. While Uplynk as a whole is away, its codes fail no export, however long
it lasts. `uplynk-export retry` takes a failed export up again, at the stage that makes sense. A
lookalike in a worker's log only: `database_unavailable`, the database is away, and everything goes
on when it is back. This page is made by `python -m tests.errors_page`, from `worker/remedies.py`;
the operator's page shows the same beside an error.

| code | what happened | what to do |
|---|---|---|
"""


def page() -> str:
    """Return the page as the remedies would have it."""
    return HEAD + "".join(
        f"| `{code}` | {'*retried*: ' if each.is_retried else ''}{each.happened} | {each.to_do} |\n"
        for code, each in REMEDIES.items()
    )


if __name__ == "__main__":
    PATH.write_text(page())
