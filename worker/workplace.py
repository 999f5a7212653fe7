"""Workplace: the folder in which a run keeps what it remembers, until all of it is done."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models import claims
from models.database import open_engine, open_sessions
from models.state import UNDER_WAY
from worker.embedded import DATABASE
from worker.errors import SettingsError


@contextmanager
def workplace(out: Path, *, emulated: bool) -> Iterator[Path]:
    """Give the folder under `out` for this run's state; no other run uses it meanwhile.

    It is gone afterwards, unless the run was interrupted or an earlier run's exports are still
    under way: Uplynk's jobs are paid for, and the same command goes on with them. An emulator
    forgets its jobs, so there is nothing to go on with.

    Raises:
        SettingsError: another run is at work in `out`.
    """
    folder = out / (".uplynk-export-emulator" if emulated else ".uplynk-export")
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield folder
        if not _is_under_way(folder):
            shutil.rmtree(folder)
    except BlockingIOError:
        raise SettingsError(
            f"another run is at work in {out}; wait for it, or name another folder"
        ) from None
    finally:
        if emulated:
            shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _is_under_way(folder: Path) -> bool:
    engine = open_engine(f"sqlite:///{folder.resolve()}/{DATABASE}")
    try:
        with open_sessions(engine).begin() as session:
            return claims.count(session, UNDER_WAY) > 0
    finally:
        engine.dispose()
