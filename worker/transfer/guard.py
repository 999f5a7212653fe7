"""Guard: what keeps watch over a transfer, and can stop it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol


class Guard(Protocol):
    """Keeps watch over a transfer: it hears of its progress, and stops it by raising."""

    def check(self) -> None:
        """Let the transfer go on, or raise to stop it.

        Once `watched` has interrupted a read, this must raise: what was read is not to be judged.
        """

    def progress(self, done: int, total: int | None) -> None:
        """Note how many bytes have come, of how many if that is known; may raise like `check`."""

    def watched(self, interrupt: Callable[[], None]) -> AbstractContextManager[None]:
        """Have `interrupt` called, from any thread, if the transfer is to stop in the meantime.

        If it is to stop already, this raises as `check` does. On leaving, `interrupt` is not being
        called and will not be any more.
        """
