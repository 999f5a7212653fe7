"""Writes docs/settings.md, from what the code says: `python -m tests.settings_page`."""

from pathlib import Path

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from worker.settings import ConsoleSettings, Settings

PATH = Path(__file__).parents[1] / "docs/settings.md"

FIELDS = {**Settings.model_fields, **ConsoleSettings.model_fields}

HEAD = """\
# Settings

Variables of the environment, or of `.env` in the working folder; a variable of the environment
beats the file. Wrong ones stop the start with one message that names each.
[.env.example](../.env.example) is a file to begin with. This page is made by
`python -m tests.settings_page`, from `worker/settings.py`.

| variable | default | what it is |
|---|---|---|
"""
FOOT = """
Storage takes its credentials from the environment, as each cloud's own tools do
(`AWS_ACCESS_KEY_ID`, …).
"""


def page() -> str:
    """Return the page as the settings would have it."""
    rows = [
        f"| `{name.upper()}` | {_default(field)} | {field.description} |\n"
        for name, field in FIELDS.items()
    ]
    return HEAD + "".join(rows) + FOOT


def _default(field: FieldInfo) -> str:
    default = field.default
    if default is PydanticUndefined:
        return "required"
    if default is None:
        return "off"
    return f"`{','.join(default) if isinstance(default, tuple) else default}`"


if __name__ == "__main__":
    PATH.write_text(page())
