"""Workplace: the folder in which runs keep what they remember, until all of it has been told."""

import fcntl
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from models import Request
from models.database import open_engine, open_sessions
from worker.embedded import DATABASE
from worker.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Workplace:
    """A folder of state, for one run at a time.

    Attributes:
        folder: where it is.
    """

    folder: Path

    def tell(self, request_ids: Collection[str]) -> None:
        """Forget these requests: whoever made them is told now what became of them."""
        with self._session() as session:
            session.execute(delete(Request).where(Request.id.in_(request_ids)))

    def is_told(self) -> bool:
        """Return whether nobody is still to be told what became of a request."""
        with self._session() as session:
            return session.scalar(select(func.count()).select_from(Request)) == 0

    @contextmanager
    def _session(self) -> Iterator[Session]:
        engine = open_engine(f"sqlite:///{self.folder.resolve()}/{DATABASE}")
        try:
            with open_sessions(engine).begin() as session:
                yield session
        finally:
            engine.dispose()


@contextmanager
def workplace(out: Path, *, emulated: bool) -> Iterator[Workplace]:
    """Give the place under `out` for this run's state; no other run uses it meanwhile.

    It is gone afterwards, unless the run was interrupted, or an earlier one was whose exports it
    remembers: Uplynk's jobs are paid for, and the same command goes on with them. An emulator
    forgets its jobs, so there is nothing to go on with.

    Raises:
        SettingsError: another run is at work in `out`.
    """
    folder = out / (".uplynk-export-emulator" if emulated else ".uplynk-export")
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _lock(descriptor, out)
        with _given_up(folder) if emulated else nullcontext():
            place = Workplace(folder)
            yield place
            if place.is_told():
                shutil.rmtree(folder)
    finally:
        os.close(descriptor)


@contextmanager
def _given_up(folder: Path) -> Iterator[None]:
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _lock(descriptor: int, out: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SettingsError(
            f"another run is at work in {out}; wait for it, or name another folder"
        ) from None
