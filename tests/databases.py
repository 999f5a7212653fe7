"""Databases: a migrated one for each test, empty and its own, on SQLite or on a real PostgreSQL."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copy, disk_usage
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import psycopg
from psycopg.sql import SQL, Identifier
from sqlalchemy import make_url

import migrations
from models.base import Base

# SQLite waits for its disk at each commit, and several processes of tests for each other's. Where
# there is a file system in memory with so much room (tmpfs(5)), databases are there.
_MEMORY = Path("/dev/shm")  # noqa: S108  (folders in it are made by tempfile)
_LEAST_ROOM_BYTES = 1 << 30

# A database is lent again as long as it is like a new one: with the same tables in every word, that
# have taken no more than this, and of which no statistics were made.
MOST_BYTES = 1 << 20

# What holds little is emptied row by row: to truncate a table makes new files for it and each of
# its indexes, some 40 ms for all of ours.
LITTLE_BYTES = 1 << 18

_LIKE = SQL("""
WITH tables AS (
    SELECT oid, reltuples FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
), words AS (
    SELECT concat_ws(' ', attrelid::regclass, attnum, attname, atttypid, atttypmod, attnotnull)
    FROM pg_attribute WHERE attrelid IN (SELECT oid FROM tables) AND attnum > 0
    UNION ALL
    SELECT concat_ws(' ', conrelid::regclass, conname, pg_get_constraintdef(oid))
    FROM pg_constraint WHERE conrelid IN (SELECT oid FROM tables)
    UNION ALL
    SELECT pg_get_indexdef(indexrelid)
    FROM pg_index WHERE indrelid IN (SELECT oid FROM tables)
    UNION ALL
    SELECT version_num FROM alembic_version
    UNION ALL
    SELECT nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg_%'
    UNION ALL
    SELECT concat_ws(' ', adrelid::regclass, adnum, pg_get_expr(adbin, adrelid))
    FROM pg_attrdef WHERE adrelid IN (SELECT oid FROM tables)
    UNION ALL
    SELECT pg_get_triggerdef(oid)
    FROM pg_trigger WHERE tgrelid IN (SELECT oid FROM tables) AND NOT tgisinternal
    UNION ALL
    SELECT array_to_string(setconfig, ' ')
    FROM pg_db_role_setting JOIN pg_database ON pg_database.oid = setdatabase
    WHERE datname = current_database()
)
SELECT
    (SELECT md5(string_agg(words::text, ' ' ORDER BY words::text)) FROM words),
    (SELECT max(reltuples) FROM tables),
    (SELECT sum(pg_relation_size(oid)) FROM tables)
""")
_NUMBERS = SQL(
    "SELECT setval(oid::regclass, 1, false) FROM pg_class"
    " WHERE relkind = 'S' AND relnamespace = 'public'::regnamespace"
)
_PATIENCE = "-c lock_timeout=5s"
_OTHERS = SQL(
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


class Files:
    """Databases of SQLite.

    Attributes:
        url: of an empty one.
    """

    def __init__(self, folder: Path) -> None:
        self._template = folder / "exports.db"
        self.url = f"sqlite:///{self._template}"
        migrations.upgrade(self.url)

    @contextmanager
    def one(self, folder: Path) -> Iterator[str]:
        """Give the URL of a database of the caller's own: in memory, or else in its folder."""
        if not _has_room(_MEMORY):
            yield f"sqlite:///{copy(self._template, folder)}"
            return
        # whoever is still in it has nothing to do with what the test found
        made = TemporaryDirectory(prefix="uplynk-export-", dir=_MEMORY, ignore_cleanup_errors=True)
        with made as name:
            yield f"sqlite:///{copy(self._template, name)}"


def _has_room(folder: Path) -> bool:
    return folder.is_dir() and disk_usage(folder).free >= _LEAST_ROOM_BYTES


class Copies:
    """Databases of a PostgreSQL; nothing is left of them at the end.

    Attributes:
        url: of an empty one.
    """

    def __init__(self, server: str) -> None:
        self._server = server
        self._template = f"template_{uuid4().hex}"
        self._spare: str | None = None
        self.url = self._named(self._template)
        self._order("CREATE DATABASE {}", self._template)
        migrations.upgrade(self.url)
        with psycopg.connect(self.url) as connection:
            self._like = connection.execute(_LIKE).fetchone()

    @contextmanager
    def one(self, _folder: Path) -> Iterator[str]:
        """Give the URL of a database of the caller's own."""
        name, spare = f"test_{uuid4().hex}", self._spare
        if spare is None:
            self._order("CREATE DATABASE {} TEMPLATE {}", name, self._template)
        else:  # whoever is left of an earlier test does not find it under this name
            self._order("ALTER DATABASE {} RENAME TO {}", spare, name)
        self._spare = None
        try:
            yield self._named(name)
        finally:
            if self._clear(name):
                self._spare = name
            else:
                self._drop(name)

    def close(self) -> None:
        """Drop what there is."""
        for name in filter(None, (self._spare, self._template)):
            self._drop(name)

    def _clear(self, name: str) -> bool:
        """Empty the database, whoever is still in it; return whether it is like a new one now."""
        try:
            with psycopg.connect(
                self._named(name), autocommit=True, options=_PATIENCE
            ) as connection:
                connection.execute(_OTHERS)
                found = connection.execute(_LIKE).fetchone()
                assert found is not None
                assert self._like is not None
                if found[:2] != self._like[:2] or found[2] > MOST_BYTES:
                    return False
                self._empty(connection, little=found[2] <= LITTLE_BYTES)
        except psycopg.Error:  # it may only be read, say
            return False
        return True

    @staticmethod
    def _empty(connection: psycopg.Connection[Any], *, little: bool) -> None:
        tables = [Identifier(table.name) for table in reversed(Base.metadata.sorted_tables)]
        if not little:
            order = SQL("TRUNCATE {} RESTART IDENTITY").format(SQL(", ").join(tables))
            connection.execute(order)
            return
        with connection.transaction():
            for table in tables:
                connection.execute(SQL("DELETE FROM {}").format(table))
            connection.execute(_NUMBERS)

    def _drop(self, name: str) -> None:
        self._order("DROP DATABASE {} WITH (FORCE)", name)

    def _order(self, order: str, *names: str) -> None:
        with psycopg.connect(self._server, autocommit=True) as connection:
            connection.execute(SQL(order).format(*map(Identifier, names)))

    def _named(self, name: str) -> str:
        return make_url(self._server).set(database=name).render_as_string(hide_password=False)
