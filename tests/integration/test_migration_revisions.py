"""Revisions to come: they are numbered, they run as generated, and they lose no rows."""

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import func, inspect, select, text
from sqlalchemy.exc import DatabaseError, IntegrityError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

import migrations
from models import Audio, Export, History, Request, status
from tests.engines import connected

Sessions = sessionmaker[Session]

ROOT = Path(migrations.__file__).parents[1]
REVISION = '''"""{message}."""

import sqlalchemy as sa
from alembic import op

revision = "{number}"
down_revision = "{before}"


def upgrade() -> None:
    {upgrade}


def downgrade() -> None:
    pass
'''
# how Alembic changes a column on SQLite: a new table, all rows copied, the old table dropped
REPLACE = (
    'with op.batch_alter_table("exports") as table:\n'
    '        table.alter_column("job_state", type_=sa.String(80))'
)


def after_head(count: int) -> str:
    """Return the number of the `count`-th revision after the last one; 0 for that itself."""
    return f"{int(migrations.head()) + count:04d}"


def copied(tmp_path: Path, url: str, *upgrades: str) -> Config:
    """Return the configuration of a copy of the migrations, with more revisions after the last."""
    folder = tmp_path / "migrations"
    shutil.copytree(ROOT / "migrations", folder)
    for count, upgrade in enumerate(upgrades):
        before, number = after_head(count), after_head(count + 1)
        body = REVISION.format(message="More", number=number, before=before, upgrade=upgrade)
        (folder / "versions" / f"{number}_more.py").write_text(body)
    config = migrations.configuration(url)
    config.set_main_option("script_location", str(folder))
    return config


def alembic(folder: Path, url: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Begin to run Alembic's command line on the copy in `folder`."""
    shutil.copy(ROOT / "pyproject.toml", folder)
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "alembic", *arguments],
        env={**os.environ, "DATABASE_URL": url, "PYTHONPATH": str(ROOT)},
        cwd=folder,
        stdout=subprocess.DEVNULL,
    )


def made_export(sessions: Sessions) -> Export:
    """Make an export with its history and a request."""
    now = datetime.now(UTC)
    export = Export.requested(account="a", asset="b", audio=Audio.HE_AAC, priority=0, now=now)
    with sessions.begin() as session:
        session.add(Request(id="r1", export=export, created_at=now))
    return export


def test_a_new_revision_has_the_next_number(tmp_path: Path, database_url: str) -> None:
    config = copied(tmp_path, database_url)
    command.revision(config, message="add a thing", autogenerate=True)
    *before, added = sorted(path.name for path in (tmp_path / "migrations/versions").glob("0*.py"))
    assert [name[:4] for name in before] == [
        f"{number:04d}" for number in range(1, len(before) + 1)
    ]
    assert added == f"{after_head(1)}_add_a_thing.py"
    assert ScriptDirectory.from_config(config).get_current_head() == after_head(1)
    command.upgrade(config, "head")
    assert migrations.current(database_url) == after_head(1)


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("exports", "failing_since"),
        # SQLite can't drop a column that is in a CHECK, nor add one that must have a value
        pytest.param("exports", "captions", marks=pytest.mark.services),
        pytest.param("requests", "metadata", marks=pytest.mark.services),
    ],
)
def test_a_generated_revision_makes_the_column_that_the_model_has(
    tmp_path: Path, database_url: str, table: str, column: str
) -> None:
    before = checks(database_url, table)
    config = copied(tmp_path, database_url)
    change(database_url, f"DROP VIEW {status.NAME}")
    change(database_url, f"ALTER TABLE {table} DROP COLUMN {column}")
    command.revision(config, message="add a column", autogenerate=True)
    written = (tmp_path / f"migrations/versions/{after_head(1)}_add_a_column.py").read_text()
    assert "models" not in written  # which may be others by the time that it runs
    command.upgrade(config, "head")
    command.check(config)
    assert checks(database_url, table) == before
    command.downgrade(config, after_head(0))


def test_a_revision_that_replaces_a_table_loses_no_rows_that_refer_to_it(
    tmp_path: Path, sessions: Sessions, database_url: str
) -> None:
    made = made_export(sessions)
    command.upgrade(copied(tmp_path, database_url, REPLACE), "head")
    with sessions.begin() as session:
        assert session.scalar(select(func.count()).select_from(History)) == 1
        assert session.get_one(Request, "r1").export_id == made.id
    with pytest.raises(IntegrityError), sessions.begin() as session:
        session.execute(text("DELETE FROM exports"))


def test_a_revision_that_leaves_a_row_referring_to_nothing_is_taken_back(
    tmp_path: Path, sessions: Sessions, database_url: str
) -> None:
    made_export(sessions)
    config = copied(tmp_path, database_url, 'op.execute("DELETE FROM exports")')
    with pytest.raises((RuntimeError, IntegrityError), match="refer"):
        command.upgrade(config, "head")
    assert migrations.current(database_url) == after_head(0)
    with sessions.begin() as session:
        assert session.scalar(select(func.count()).select_from(Export)) == 1


def test_of_several_revisions_all_are_made_or_none(tmp_path: Path, database_url: str) -> None:
    config = copied(
        tmp_path,
        database_url,
        'op.create_table("extra", sa.Column("id", sa.Integer()))',
        'op.execute("nonsense")',
    )
    with pytest.raises(DatabaseError):
        command.upgrade(config, "head")
    assert migrations.current(database_url) == after_head(0)
    change(database_url, "CREATE TABLE extra (id INTEGER)")


def test_several_revisions_at_the_same_time_end_well(tmp_path: Path, database_url: str) -> None:
    copied(tmp_path, database_url, *('op.execute("SELECT 1")' for _ in range(3)))
    begun = [alembic(tmp_path, database_url, "upgrade", "head") for _ in range(3)]
    assert [process.wait(60) for process in begun] == [0, 0, 0]
    assert migrations.current(database_url) == after_head(3)


def test_the_command_line_numbers_a_new_revision(tmp_path: Path, database_url: str) -> None:
    copied(tmp_path, database_url)
    arguments = ("revision", "--autogenerate", "-m", "a thing")
    assert alembic(tmp_path, database_url, *arguments).wait(60) == 0
    assert (tmp_path / f"migrations/versions/{after_head(1)}_a_thing.py").exists()


@pytest.mark.services
def test_a_migration_waits_four_seconds_for_a_lock_and_lasts_two_minutes(
    tmp_path: Path, database_url: str
) -> None:
    told = ", ".join(f"current_setting('{one}_timeout') AS {one}" for one in ("lock", "statement"))
    upgrade = f'op.execute("CREATE TABLE told AS SELECT {told}")'
    command.upgrade(copied(tmp_path, database_url, upgrade), "head")
    assert rows(database_url, "SELECT lock, statement FROM told") == [("4s", "2min")]


@pytest.mark.services
def test_a_table_in_use_makes_an_upgrade_fail_soon_and_the_next_succeeds(
    tmp_path: Path, sessions: Sessions, database_url: str
) -> None:
    config = copied(tmp_path, database_url, 'op.drop_column("exports", "width")')
    with sessions.begin() as user:
        user.execute(text("SELECT 1 FROM exports"))
        with pytest.raises(OperationalError, match="lock timeout"):
            command.upgrade(config, "head")
        assert migrations.current(database_url) == after_head(0)
    command.upgrade(config, "head")
    assert migrations.current(database_url) == after_head(1)


def change(url: str, statement: str) -> None:
    with connected(url) as connection:
        connection.execute(text(statement))


def rows(url: str, statement: str) -> list[tuple[object, ...]]:
    with connected(url) as connection:
        return [tuple(row) for row in connection.execute(text(statement))]


def checks(url: str, table: str) -> set[str | None]:
    with connected(url) as connection:
        return {check["name"] for check in inspect(connection).get_check_constraints(table)}
