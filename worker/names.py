"""Names: those of batches, for a shell that completes them; quick, or none."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError
from sqlalchemy import make_url, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from models import Batch
from models.database import for_reading, open_engine
from worker.errors import SettingsError
from worker.settings import load_client

MOST = 100
# What somebody waits for who pressed a key; libpq takes no less than two seconds.
QUICK = {"connect_timeout": "2", "options": "-c statement_timeout=1000"}


def batches(beginning: str) -> Sequence[str]:
    """Return the names of the newest batches that begin so; none where the database is away."""
    with suppress(SettingsError, ValidationError, SQLAlchemyError, OSError, ValueError):
        url = make_url(load_client().database_url)
        if url.get_backend_name() == "sqlite":
            if not Path(url.database or "").is_file():  # else it would be made
                return []
        else:
            url = url.update_query_dict(QUICK)
        engine = open_engine(url.render_as_string(hide_password=False))
        try:
            with Session(for_reading(engine)) as session:
                query = select(Batch.name).where(Batch.name.startswith(beginning, autoescape=True))
                return session.scalars(query.order_by(Batch.created_at.desc()).limit(MOST)).all()
        finally:
            engine.dispose()
    return []
