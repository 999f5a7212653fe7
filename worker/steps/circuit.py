"""Circuit: while Uplynk is away one worker probes it now and then, and no export is blamed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from sqlalchemy import update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from models import Breaker
from models.database import autocommitted, inserted
from worker.cloudslicer.reply import CREDENTIALS
from worker.errors import Permanent, Transient
from worker.logs import get_logger
from worker.steps import ledger

# So many failures in a row, of whatever calls and workers, are no single export's trouble.
TRIPS_AT = 5

PROBE_FIRST = timedelta(seconds=5)
PROBE_MOST = timedelta(minutes=1)
# What was over sooner excuses no failure: a call that fails while the others are answered opens the
# circuit again and again, and what waits for it would have all its time anew each time.
LEAST_OUTAGE = timedelta(minutes=1)

_log = get_logger(__name__)


def name_of(account: str) -> str:
    """Return the name of the breaker around Uplynk, for one account."""
    return f"uplynk:{account}"


class Circuit:
    """The circuit breaker around Uplynk: one row that all workers of an account share.

    Args:
        sessions: where the row is.
        account: the account's user id.
        now: gives the time.
        probing: how long a probe may take; meanwhile nobody else probes.
        slow_down: is called where Uplynk says that it is asked too much.
    """

    def __init__(
        self,
        sessions: sessionmaker[Session],
        account: str,
        *,
        now: Callable[[], datetime],
        probing: timedelta,
        slow_down: Callable[[], None] = lambda: None,
    ) -> None:
        self._sessions = sessions
        self._name = name_of(account)
        self._now = now
        self._probing, self._slow_down = probing, slow_down
        # what was last seen on record: so a success writes only if there is something to take back
        self._failures = 0
        self.is_open = False
        self.ended_at: datetime | None = None  # when the last outage was over

    def retry_at(self, probe: Callable[[], object]) -> datetime | None:
        """Return None if Uplynk may be asked, else when to come again; a probe that is due is made.

        Args:
            probe: asks Uplynk for anything; it raises what any call does.
        """
        with autocommitted(self._sessions) as session:
            self._see(row := session.get(Breaker, self._name))
            if row is None or row.probe_at is None or not self.is_open:
                return None
            now = self._now()
            if row.probe_at > now:
                return row.probe_at
            # whoever moves the time on makes the probe; who dies at it leaves it to the next
            until = now + self._probing
            is_mine = session.execute(
                update(Breaker)
                .where(Breaker.name == self._name, Breaker.probe_at <= now)
                .values(probe_at=until)
                .returning(Breaker.name)
                .execution_options(synchronize_session=False)
            ).first()
        if is_mine is None:
            return now + PROBE_FIRST
        return self._probed(probe)

    def _probed(self, probe: Callable[[], object]) -> datetime | None:
        try:
            with self.watching():
                probe()
        except Permanent:
            return None  # a refusal is an answer
        except Transient as error:
            _log.warning("uplynk still away", code=error.code, message=error.message)
            with self._sessions.begin() as session:
                row = session.get_one(Breaker, self._name)
                return row.probe_at
        return None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Note whether the call that is made in this context was answered."""
        ledger.current().called()
        begun = self._now()
        try:
            yield
        except Permanent:
            self._note(None, begun)
            raise
        except Transient as error:
            if error.is_asked_too_much:
                self._slow_down()
            self._note(error, begun)
            raise
        self._note(None, begun)

    def _note(self, error: Transient | None, begun: datetime) -> None:
        """Set the outcome down; that this fails must not cost the outcome of the call itself."""
        try:
            if error is not None:
                self._fail(error, begun)
            elif self._failures or self.is_open:
                self._answer()
        except SQLAlchemyError:
            _log.warning("breaker not set")

    def _fail(self, error: Transient, begun: datetime) -> None:
        with self._sessions.begin() as session:
            inserted(session, Breaker(name=self._name, failures=0, probes=0))
            row = session.get_one(Breaker, self._name, with_for_update=True)
            now = self._now()
            row.failures += 1
            if row.opened_at is None:
                if row.failures >= TRIPS_AT:
                    row.opened_at, row.probes = now, 0
                    _tell_outage(error)
            elif begun >= row.opened_at:
                row.probes += 1
            else:  # under way as it opened: that Uplynk is away is known
                self._see(row)
                return
            if row.opened_at is not None:
                wait = min(PROBE_FIRST * (1 << min(row.probes, 10)), PROBE_MOST)
                row.probe_at = now + max(wait, min(error.retry_after or wait, PROBE_MOST))
            self._see(row)

    def _answer(self) -> None:
        with self._sessions.begin() as session:
            row = session.get_one(Breaker, self._name, with_for_update=True)
            if row.opened_at is not None:
                _log.info("uplynk is back")
                now = self._now()
                if now - row.opened_at >= LEAST_OUTAGE:
                    row.closed_at = now
            row.failures = row.probes = 0
            row.opened_at = row.probe_at = None
            self._see(row)

    def _see(self, row: Breaker | None) -> None:
        if row is not None:
            self._failures, self.is_open = row.failures, row.opened_at is not None
            self.ended_at = row.closed_at


def _tell_outage(error: Transient) -> None:
    if error.code == CREDENTIALS:  # which nothing mends but another key
        _log.error("uplynk refuses the key", code=error.code, message=error.message)
    else:
        _log.warning("uplynk is away", code=error.code, message=error.message)
