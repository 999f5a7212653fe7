"""Supervisor: a worker is kept alive until this process is told to stop."""

import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

from worker import embedded, rendezvous
from worker.errors import SettingsError
from worker.logs import get_logger

# A worker that dies is started again; one that can't live is not, for longer and longer.
RESTART_FIRST_SECONDS = 1.0
RESTART_MOST_SECONDS = 30.0
LIVED_SECONDS = 60.0

START_SECONDS = 5.0  # a worker that ends by itself so soon will do so again

LOOK_SECONDS = 0.2

_log = get_logger(__name__)


@contextmanager
def broker_of_this_folder() -> Iterator[str]:
    """Run the broker of this folder, for as long as the context lasts; gives its URL.

    Raises:
        SettingsError: there is one already, and it would end with whoever runs it.
    """
    if rendezvous.ADDRESS_FILE.exists():
        address = rendezvous.ADDRESS_FILE.read_text().strip()
        if embedded.answers(address):
            raise SettingsError(
                "Another `uplynk-export worker` runs the embedded broker of this folder. For more"
                f" workers set CELERY_BROKER_URL: to {address} to join that one, or to a Redis"
            )
    with embedded.broker() as address:
        rendezvous.leave_address(address)
        try:
            yield address
        finally:
            rendezvous.remove_address()


def supervise(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Keep a worker alive until SIGTERM, SIGINT or SIGHUP; returns the worker's last status.

    A second signal ends a worker that takes its time over the steps that it is at.
    """
    pause = RESTART_FIRST_SECONDS
    with _signals() as told:
        while True:
            begun = time.monotonic()
            child = embedded.WorkerProcess(arguments, environment=environment)
            if _outlives(child, told):
                return _stopped(child, told)
            status, lived = child.process.wait(), time.monotonic() - begun
            if status == 0 or (status > 0 and lived < START_SECONDS):
                return status  # somebody told it to stop, or it can't even start
            pause = RESTART_FIRST_SECONDS if lived > LIVED_SECONDS else pause
            _log.warning("worker started again", status=status, delay_seconds=pause)
            if told.wait(pause):
                return status
            pause = min(pause * 2, RESTART_MOST_SECONDS)


class _Told:
    """Counts signals; no lock, which a handler could wait for that its own thread holds."""

    signals = 0

    def count(self, _number: int, _frame: FrameType | None) -> None:
        self.signals += 1

    def wait(self, seconds: float) -> bool:
        """Wait for a signal; returns whether one came."""
        end = time.monotonic() + seconds
        while not self.signals and time.monotonic() < end:
            time.sleep(min(LOOK_SECONDS, seconds))
        return self.signals > 0


def _outlives(child: embedded.WorkerProcess, told: _Told) -> bool:
    """Wait for the child to end or for a signal; returns whether it was the signal."""
    while child.process.poll() is None:
        if told.wait(LOOK_SECONDS):
            return True
    return told.signals > 0


def _stopped(child: embedded.WorkerProcess, told: _Told) -> int:
    told.signals = 0
    if child.process.poll() is None:
        child.process.terminate()
    if _outlives(child, told):
        child.process.kill()
    return child.process.wait()


@contextmanager
def _signals() -> Iterator[_Told]:
    """Give what counts the signals to stop; nothing is interrupted by them."""
    told = _Told()
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.signal(number, told.count) for number in numbers}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def stopped_by_signals() -> Iterator[Callable[[], bool]]:
    """Let SIGINT, SIGTERM and SIGHUP end what goes on by KeyboardInterrupt, with all it started.

    Gives whether one has come: Python drops an exception that a handler raises in the middle of a
    weak reference's callback, so whoever loops has to ask as well.
    """
    told = _Told()

    def stop(number: int, frame: FrameType | None) -> None:
        told.count(number, frame)
        raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield lambda: told.signals > 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
