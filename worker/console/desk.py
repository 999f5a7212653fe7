"""Desk: what the page reads of, and what it has done for a person, as the command line does."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from models import Notification, Request
from worker import changes, notices, records
from worker.logs import get_logger
from worker.settings import ConsoleSettings
from worker.steps.retry import MOST_AT_ONCE

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of what a person wanted, in a sentence, and where to look at it.

    Attributes:
        well: whether all of it was done.
        says: the sentence.
        export_id: of the export that goes on, if there is one.
    """

    well: bool
    says: str
    export_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Desk:
    """What the page is made of.

    Attributes:
        settings: of the page.
        sessions: opens sessions that only read.
        now: the database's clock; it may have to ask the database.
        wake: has a worker look for what is due now.
        most: so many that failed with a code are taken up while a browser waits.
    """

    settings: ConsoleSettings
    sessions: sessionmaker[Session]
    now: Callable[[], datetime]
    wake: Callable[[], None]
    most: int = MOST_AT_ONCE

    def retry(self, ids: Collection[str], *, user: str) -> Outcome:
        """Take requests up again."""
        _log.info("retried by an operator", user=user, request_id=sorted(ids))
        return self._told(list(changes.retry(self.settings, sorted(ids))), "Taken up again")

    def retry_failed(self, code: str, *, user: str) -> Outcome:
        """Take up requests of the account's that failed with a code, `most` of them at once."""
        _log.info("retried by an operator", user=user, code=code)
        account = self.settings.uplynk_user_id
        number, are_more = changes.retry_some_failed(
            self.settings, code, account=account, limit=self.most
        )
        rest = " There are more: retry them as well." if are_more else ""
        return Outcome(well=True, says=f"{number:,} taken up again.{rest}")

    def replay(self, notification_id: str, *, user: str) -> Outcome:
        """Have a notification delivered again; its id stays, for who drops duplicates."""
        told = UUID(notification_id)
        with records.opened(self.settings) as (sessions, now), sessions.begin() as session:
            request_id = session.scalar(
                select(Notification.request_id).where(Notification.id == told)
            )
            _log.info("replayed by an operator", user=user, request_id=request_id)
            there = notices.replay(session, [told], now=now())
        return Outcome(well=bool(there), says="It is delivered again.")

    def cancel(self, ids: Collection[str], *, user: str) -> Outcome:
        """Withdraw requests."""
        _log.info("withdrawn by an operator", user=user, request_id=sorted(ids))
        return self._told(list(changes.cancel(self.settings, sorted(ids))), "Withdrawn")

    def _told(self, made: Sequence[changes.Change], done: str) -> Outcome:
        wrong = [change.says for change in made if not change.well]
        if wrong or not made:
            return Outcome(well=False, says=wrong[0] if wrong else "There is no request for it.")
        with self.sessions.begin() as session:
            its = select(Request.export_id).where(Request.id == made[0].request_id)
            export_id = session.scalar(its)
        number = f"{done}: {len(made):,} requests." if len(made) > 1 else f"{done}."
        return Outcome(well=True, says=number, export_id=export_id)
