"""Look: what SQL knows of an account's exports at one moment."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from models import Breaker, State, admission, claims, deliveries, figures
from models.claims import dialect_of
from models.figures import Pending, Standing
from models.pause import EVERYBODY
from worker.logs import get_logger
from worker.pace import JOB_ERASED_AFTER
from worker.settings import FleetSettings
from worker.steps.circuit import name_of
from worker.steps.governor import LATELY, governed

# Those that have ended are counted anew so often: of a million that takes its time.
COUNT_ENDED_EVERY = timedelta(minutes=1)
# Less than a scrape waits: all else is told where this takes longer.
COUNT_SECONDS = 3
# How long exports spent in each state is told of so many that were stored last.
MOST_TOLD = 200

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Window:
    """How many exports are under way at Uplynk.

    Attributes:
        taken: how many are.
        size: how many may be now, as far as SQL can tell.
        most: MAX_EXPORTING.
    """

    taken: int
    size: int
    most: int


@dataclass(frozen=True, slots=True)
class Look:
    """What SQL knows at one moment.

    Attributes:
        at: when.
        standing: the exports in each state that has a next step.
        ended: how many exports have ended in each way; a minute old at the most. Empty where they
            could not be counted in time.
        spent: by state, how many seconds each of those that were stored last spent in it.
        stored: how many were stored in the last hour.
        stored_bytes: how many bytes these have.
        failed: by code, how many failed in the last hour.
        bringing: how many films are being brought now, and at how many bytes a second.
        window: how many are under way at Uplynk.
        margin: how long Uplynk keeps the job whose film is lacking for longest; where none is, as
            long as it keeps any.
        is_circuit_open: whether nobody asks Uplynk, because it does not answer.
        paused: of whom nothing is asked for.
        pending: what is to be told to somebody.
        pending_due_at: when the first of that is, or was, to be sent.
        given_up: how many notifications were given up.
    """

    at: datetime
    standing: Mapping[State, Standing]
    ended: Mapping[State, int]
    spent: Mapping[State, Sequence[float]]
    stored: int
    stored_bytes: int
    failed: Mapping[str, int]
    bringing: tuple[int, float]
    window: Window
    margin: timedelta
    is_circuit_open: bool
    paused: frozenset[str]
    pending: Pending
    pending_due_at: datetime | None
    given_up: int

    @property
    def is_all_paused(self) -> bool:
        """Whether nothing at all is asked for."""
        return EVERYBODY in self.paused


class Looker:
    """Looks at what SQL knows.

    Args:
        sessions: opens a session on the database.
        settings: whose exports, and how many may be under way.
        now: gives the time.
    """

    def __init__(
        self,
        sessions: sessionmaker[Session],
        settings: FleetSettings,
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._sessions, self._settings, self._now = sessions, settings, now
        self._ended: Mapping[State, int] = {}
        self._ended_at: datetime | None = None

    def __call__(self) -> Look:
        """Return what there is to see now.

        Raises:
            SQLAlchemyError: the database does not tell.
        """
        now, account = self._now(), self._settings.uplynk_user_id
        with self._sessions.begin() as session:
            paused = admission.who_is_paused(session, account)
            standing = figures.under_way(session, account=account, paused=paused)
            stored, first = claims.stored_since(session, now - LATELY, account=account)
            last = figures.last_stored(session, now - LATELY, account=account, limit=MOST_TOLD)
            breaker = session.get(Breaker, name_of(account))
            look = Look(
                at=now,
                standing=standing,
                ended={},
                spent=figures.seconds_by_state(session, last),
                stored=stored,
                stored_bytes=figures.stored_bytes_since(session, now - LATELY, account=account),
                failed=figures.failed_since(session, now - LATELY, account=account),
                bringing=figures.being_brought(session, account=account, now=now),
                window=self._window(standing, stored, now - (first or now)),
                margin=_margin(claims.oldest_done(session, account=account), now),
                is_circuit_open=breaker is not None and breaker.opened_at is not None,
                paused=paused,
                pending=figures.pending(session),
                pending_due_at=deliveries.next_due(session),
                given_up=figures.given_up(session),
            )
        return replace(look, ended=self._counted(now))

    def _counted(self, now: datetime) -> Mapping[State, int]:
        """Return how many have ended; nothing where they are too many to be counted in time.

        They are counted in a transaction of its own: all else is told without them.
        """
        if self._ended_at is None or not timedelta() <= now - self._ended_at < COUNT_ENDED_EVERY:
            self._ended_at, self._ended = now, {}
            try:
                with self._sessions.begin() as session:
                    if dialect_of(session) == "postgresql":
                        session.execute(text(f"SET LOCAL statement_timeout = '{COUNT_SECONDS}s'"))
                    self._ended = figures.ended(session, account=self._settings.uplynk_user_id)
            except SQLAlchemyError as error:
                _log.warning("ended exports not counted", message=f"{error.args[0]}")
        return self._ended

    def _window(self, standing: Mapping[State, Standing], stored: int, lately: timedelta) -> Window:
        size = governed(
            self._settings.max_exporting,
            waiting=standing[State.DOWNLOADING].count,
            brought=stored,
            lately=lately,
            backlog=self._settings.download_backlog,
        )
        taken = standing[State.SUBMITTING].count + standing[State.EXPORTING].count
        return Window(taken, size, self._settings.max_exporting)


def _margin(oldest_done: datetime | None, now: datetime) -> timedelta:
    return JOB_ERASED_AFTER if oldest_done is None else oldest_done + JOB_ERASED_AFTER - now
