"""Governor: no more is asked of Uplynk than can be brought before its record of it is gone.

Uplynk erases a job 72 hours after it was done (uplynk-api: life cycle). What is under way there and
what waits to be brought may amount to DOWNLOAD_BACKLOG_HOURS of work at the rate of the last hour.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from math import floor

from sqlalchemy.orm import Session

from models import State, claims
from worker.logs import get_logger
from worker.settings import Settings
from worker.transfer.bounds import free_bytes

# The rate is that of so long; of less where the first file came later than that, but not of
# moments: a few files that came together say little.
LATELY = timedelta(hours=1)
LEAST_LATELY = timedelta(minutes=2)
# So many may always be under way or wait, whatever is known of the rate.
LEAST = 20
# What was found holds for so long.
LOOK_EVERY = timedelta(seconds=2)
SAY_EVERY = timedelta(minutes=10)
# Uplynk erases a job 72 hours after it ended. A file that is lacking by then is in danger, and goes
# before all others.
DANGER_AFTER = timedelta(hours=48)

_log = get_logger(__name__)


class Governor:
    """How many exports may be under way at Uplynk; MAX_EXPORTING at the most.

    Args:
        settings: what the environment says.
        account: the account's user id.
        now: gives the time.
    """

    def __init__(self, settings: Settings, account: str, *, now: Callable[[], datetime]) -> None:
        self._settings, self._account, self._now = settings, account, now
        self._window = settings.max_exporting
        self._looked_at: datetime | None = None
        self._oldest_at: datetime | None = None
        self._oldest: datetime | None = None  # when the job was done whose file is lacking longest
        self._said_at: dict[str, datetime] = {}

    def window(self, session: Session) -> int:
        """Return how many exports may be under way at Uplynk now."""
        now = self._now()
        if self._looked_at is None or now - self._looked_at >= LOOK_EVERY:
            self._looked_at, self._window = now, self._governed(session, now)
        return self._window

    def watch(self, session: Session) -> None:
        """Raise the alarm where the record of a file that is lacking will soon be gone."""
        if self.danger(session) is None or self._oldest is None:
            return
        if self._is_to_be_said("danger"):
            _log.error("file in danger", done_at=self._oldest.isoformat())

    def danger(self, session: Session) -> datetime | None:
        """Return by when what was done is in danger now; None where no file of it is lacking."""
        now = self._now()
        if self._oldest_at is None or now - self._oldest_at >= LOOK_EVERY:
            self._oldest = claims.oldest_done(session, account=self._account)
            self._oldest_at = now
        by = now - DANGER_AFTER
        return by if self._oldest is not None and self._oldest <= by else None

    def _governed(self, session: Session, now: datetime) -> int:
        most, settings = self._settings.max_exporting, self._settings
        if not _has_room(settings):
            if self._is_to_be_said("full"):
                _log.error(
                    "nothing is exported: SCRATCH_DIR is full", folder=str(settings.scratch_dir)
                )
            return 0
        waiting = claims.count(session, (State.DOWNLOADING,), account=self._account)
        brought, since = claims.stored_since(session, now - LATELY, account=self._account)
        window = governed(
            most,
            waiting=waiting,
            brought=brought,
            lately=now - (since or now),
            backlog=settings.download_backlog,
        )
        if window < most and waiting and self._is_to_be_said("fewer"):
            _log.warning("fewer are exported: files wait", window=window, waiting=waiting)
        return window

    def _is_to_be_said(self, what: str) -> bool:
        """Return whether that was not said for a while."""
        said_at, now = self._said_at.get(what), self._now()
        if said_at is not None and now - said_at < SAY_EVERY:
            return False
        self._said_at[what] = now
        return True


def _has_room(settings: Settings) -> bool:
    """Return whether downloads may begin, as far as this machine's disk is concerned."""
    folder = settings.scratch_dir.absolute()
    there = next(each for each in (folder, *folder.parents) if each.is_dir())
    try:
        return free_bytes(there) >= settings.scratch_reserve_bytes
    except OSError:  # it can't be told; the downloads will say why
        return True


def governed(
    most: int, *, waiting: int, brought: int, lately: timedelta, backlog: timedelta
) -> int:
    """Return how many exports may be under way at Uplynk.

    Args:
        most: MAX_EXPORTING.
        waiting: how many files wait to be brought.
        brought: how many were brought lately.
        lately: since when the first of these was brought.
        backlog: how long it may take to bring what waits and what is under way.
    """
    affordable = max(floor(brought * (backlog / max(lately, LEAST_LATELY))), LEAST)
    return max(min(most, affordable - waiting), 0)
