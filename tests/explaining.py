"""Explaining: the plans of statements, as the database has them while they are sent."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.orm import Session

from tests.engines import opened


@contextmanager
def explained(url: str, explain: str) -> Iterator[tuple[Session, list[list[Any]]]]:
    """Give a session, and the plans of the statements as they are sent in it.

    Args:
        url: of the database.
        explain: what is put before a statement to have it explained.
    """
    plans: list[list[Any]] = []

    def tell(connection: Connection, _cursor: object, statement: str, values: Any, *_: Any) -> None:
        driver: Any = connection.connection.driver_connection
        if statement.lstrip().startswith(("SELECT", "UPDATE", "WITH")):
            with_plan = driver.cursor()
            with_plan.execute("SAVEPOINT plan")
            plans.append(with_plan.execute(f"{explain} {statement}", values).fetchall())
            with_plan.execute("ROLLBACK TO SAVEPOINT plan")
            with_plan.close()

    with opened(url) as engine, Session(engine) as session:
        event.listen(engine, "before_cursor_execute", tell)
        yield session, plans
