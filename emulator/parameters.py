"""The parameters of one call, taken out by name and type."""

import re
from typing import Any

from emulator.refusal import Code, RefusedError

ID = re.compile(r"[0-9a-f]{32}")


class Parameters:
    """What a call was given; each parameter is taken once, and `finish` refuses what is left."""

    def __init__(self, given: dict[str, Any]) -> None:
        self._given = dict(given)

    def identifier(self, name: str) -> str:
        """Take 32 lower-case hex digits."""
        value = self._given.pop(name, None)
        if not isinstance(value, str) or not ID.fullmatch(value):
            raise _refused(f"{name} must be 32 hex digits")
        return value

    def identifiers(self, name: str, most: int) -> list[str]:
        """Take a list of 1 to `most` texts."""
        value = self._given.pop(name, None)
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise _refused(f"{name} must be a list of ids")
        if not 1 <= len(value) <= most:
            raise _refused(f"{name} must hold 1 to {most} ids")
        return value

    def whole(self, name: str, default: int, low: int, high: int | None = None) -> int:
        """Take a whole number from `low` to `high`."""
        value = self._given.pop(name, default)
        if type(value) is not int or value < low or (high is not None and value > high):
            span = f"{low} or more" if high is None else f"{low} to {high}"
            raise _refused(f"{name} must be a whole number, {span}")
        return value

    def text(self, name: str, default: str) -> str:
        """Take a text."""
        value = self._given.pop(name, default)
        if not isinstance(value, str):
            raise _refused(f"{name} must be a text")
        return value

    def has(self, name: str) -> bool:
        """Tell whether the parameter was given and not taken yet."""
        return name in self._given

    def finish(self) -> None:
        """Refuse parameters that the call does not know: a misspelt one must not pass unseen."""
        if self._given:
            raise _refused(f"Unknown parameter {min(self._given)}")


def _refused(message: str) -> RefusedError:
    return RefusedError(Code.PARAMETER, message)
