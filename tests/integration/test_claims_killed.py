"""Claims of the dead: what a killed process leaves behind is due again, and nothing is locked."""

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection

from sqlalchemy.orm import Session, sessionmaker

from models import Export, State, claims
from models.database import open_engine, open_sessions
from tests.factories import make_export
from tests.waiting import wait_until

Sessions = sessionmaker[Session]

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
UNTIL = NOW + timedelta(minutes=2)


def take(sessions: Sessions, now: datetime = NOW) -> list[Export]:
    with sessions.begin() as session:
        return claims.take(session, State.DOWNLOADING, now=now, until=UNTIL)


def die_holding(url: str, told: Connection) -> None:
    """Take a row, commit, and never end."""
    taken = take(open_sessions(open_engine(url)))
    told.send(taken[0].claim)
    told.recv()


def die_in_the_transaction(url: str, told: Connection) -> None:
    """Take a row, and never commit."""
    with open_sessions(open_engine(url)).begin() as session:
        taken = claims.take(session, State.DOWNLOADING, now=NOW, until=UNTIL)
        told.send(taken[0].claim)
        told.recv()


@contextmanager
def killed(target: Callable[[str, Connection], None], url: str) -> Iterator[object]:
    """Give the claim of a process that took a row; afterwards it is killed."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    with ours, theirs:
        process = spawn.Process(target=target, args=(url, theirs), daemon=True)
        process.start()
        assert ours.poll(60)
        yield ours.recv()
        process.kill()
        process.join()
        process.close()


def test_the_claim_of_a_killed_process_runs_out(sessions: Sessions, database_url: str) -> None:
    made = make_export(sessions, state=State.DOWNLOADING, due_at=NOW)
    with killed(die_holding, database_url) as claim:
        assert claim is not None
    assert take(sessions, now=UNTIL - timedelta(microseconds=1)) == []
    [taken] = take(sessions, now=UNTIL)
    assert (taken.id, taken.claim != claim) == (made.id, True)


def test_a_process_killed_in_its_transaction_has_taken_nothing(
    sessions: Sessions, database_url: str
) -> None:
    made = make_export(sessions, state=State.DOWNLOADING, due_at=NOW)
    with killed(die_in_the_transaction, database_url):
        pass
    # PostgreSQL needs a moment to see that nobody is there any more
    [taken] = wait_until(lambda: take(sessions), what="the end of the transaction")
    assert taken.id == made.id
