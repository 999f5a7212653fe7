"""Database: the storm's PostgreSQL, which is cut off, restarted and made read-only.

It keeps an audit: a trigger notes each change of an export with the name of the worker's connection
that made it, so that afterwards it is known who held which claim when.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from tests.services import Postgres

WORKERS = "uplynk-export."  # begins the name of each worker's connections
STANDING = "idle in transaction"

_AUDIT = """
CREATE TABLE chaos_audit (
    id bigserial PRIMARY KEY, at timestamptz NOT NULL, export_id uuid NOT NULL, who text NOT NULL,
    port int, state text NOT NULL, claim uuid, claimed_until timestamptz, due_at timestamptz,
    attempts int NOT NULL, job_id text
);
CREATE FUNCTION chaos_note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO chaos_audit
        (at, export_id, who, port, state, claim, claimed_until, due_at, attempts, job_id)
    VALUES
        (clock_timestamp(), NEW.id, current_setting('application_name'), inet_client_port(),
         NEW.state, NEW.claim, NEW.claimed_until, NEW.due_at, NEW.attempts, NEW.job_id);
    RETURN NULL;
END $$;
CREATE TRIGGER chaos_note AFTER INSERT OR UPDATE ON exports
    FOR EACH ROW EXECUTE FUNCTION chaos_note();
"""

# the name is WORKERS and more
_SESSIONS = """
SELECT pid, application_name, coalesce(state, 'starting') FROM pg_stat_activity
WHERE application_name ~ '^uplynk-'
"""
# Workers with nothing else to do sweep: one that has just got the answer to a statement, and says
# the next in a moment, is seen to be idle in transaction now and then. Of so many looks, so far
# apart, it is not in half.
LOOKS, LOOK_SECONDS = 10, 0.3
_CUT = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name ~ '^uplynk-'
"""


@dataclass(frozen=True, slots=True)
class Change:
    """One change of an export, as it was afterwards.

    Attributes:
        who: the name of the worker, or what else the connection calls itself.
        port: the connection's port at the worker's end, as it tells the children of one apart.
    """

    id: int
    at: datetime
    export_id: UUID
    who: str
    port: int | None
    state: str
    claim: UUID | None
    claimed_until: datetime | None
    due_at: datetime | None
    attempts: int
    job_id: str | None


@dataclass(slots=True)
class Database:
    """The PostgreSQL of a storm's own.

    Attributes:
        server: its process.
        restarting: whether it is down.
    """

    server: Postgres
    is_up: bool = True

    def install_audit(self) -> None:
        """Have each change of an export noted from now on; the tables must be there."""
        self._execute(_AUDIT)

    def url_for(self, name: str) -> str:
        """Return the URL by which a connection calls itself `name`."""
        return f"{self.server.url}?application_name={name}"

    def cut(self) -> bool:
        """Terminate every session of the workers'; False if the server is down."""
        if self.is_up:
            self._execute(_CUT)
        return self.is_up

    def stop(self) -> bool:
        """Stop it at once; False if it is down already."""
        was_up, self.is_up = self.is_up, False
        self.server.stop()
        return was_up

    def start(self) -> None:
        """Have it run."""
        if not self.is_up:
            self.server.start()
            self.is_up = True

    def read_only(self, value: bool) -> bool:
        """Let it be read only, or written again; False if it is down."""
        if self.is_up:
            setting = "SET default_transaction_read_only = on" if value else (
                "RESET default_transaction_read_only"
            )  # fmt: skip
            self._execute(f"ALTER SYSTEM {setting}")
            self._execute("SELECT pg_reload_conf()")
        return self.is_up

    def audit(self) -> list[Change]:
        """Return all changes of exports, in order."""
        with self._connected() as connection:
            cursor = connection.cursor(row_factory=dict_row)
            rows = cursor.execute("SELECT * FROM chaos_audit ORDER BY id").fetchall()
        return [Change(**{**row, "who": row["who"].removeprefix(WORKERS)}) for row in rows]

    def connections(self) -> Sequence[tuple[str, str]]:
        """Return the workers' sessions: the name of each, and what it is at."""
        with self._connected() as connection:
            return lasting(lambda: connection.execute(_SESSIONS).fetchall())

    def _execute(self, statement: str) -> None:
        with self._connected() as connection:
            connection.execute(statement.encode())

    def _connected(self) -> psycopg.Connection[Any]:
        return psycopg.connect(
            self.server.url,
            autocommit=True,
            application_name="chaos",
            options="-c default_transaction_read_only=off",
        )


def lasting(
    look: Callable[[], Sequence[tuple[int, str, str]]], *, every: float = LOOK_SECONDS
) -> Sequence[tuple[str, str]]:
    """Return the workers' sessions: the name of each, and what it is at.

    One that looks idle in a transaction is looked at again, and is at work if it mostly isn't.

    Args:
        look: gives each session's number, its name, and what it is at just now.
        every: seconds from one look to the next.
    """
    seen = look()
    stands = Counter(number for number, _, state in seen if state.startswith(STANDING))
    if stands:
        for _ in range(LOOKS - 1):
            time.sleep(every)
            stands.update(number for number, _, state in look() if state.startswith(STANDING))
    return [
        (name.removeprefix(WORKERS), "active" if 0 < stands[number] < LOOKS / 2 else state)
        for number, name, state in seen
    ]
