"""Why a call failed, in the shape of Uplynk's envelope."""

from enum import IntEnum
from typing import Any


class Code(IntEnum):
    """Error codes of the emulator; Uplynk publishes none, so no client may rely on them."""

    PARAMETER = 1
    """A parameter is missing, unknown or of the wrong type."""
    CALL = 2
    """There is no such call."""
    SIGNATURE = 3
    """The request is not signed as the documentation says."""
    NOT_FOUND = 4
    """There is no such asset or job (any more)."""
    STATE = 5
    """The job's state does not allow it."""


class RefusedError(Exception):
    """The call did nothing; the envelope says why."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def envelope(self) -> dict[str, Any]:
        """Return the failure envelope."""
        return {"error": int(self.code), "msg": self.message}
