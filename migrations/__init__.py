"""How the tables came to be, step by step (Alembic), and how far a database has come."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from models.database import open_engine


def configuration(url: str) -> Config:
    """Return Alembic's configuration for the database of `url`."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["url"] = url
    return config


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the database up to `revision`; one that is there already stays as it is."""
    command.upgrade(configuration(url), revision)


def head() -> str:
    """Return the newest revision that this release knows."""
    return str(ScriptDirectory(str(Path(__file__).parent)).get_current_head())


def current(url: str) -> str | None:
    """Return the database's revision, or None where no migration ever ran."""
    engine = open_engine(url)
    try:
        with engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()
    finally:
        engine.dispose()
