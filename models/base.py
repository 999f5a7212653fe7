"""The declarative base: how names, times and enumerations are stored in every table."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, DateTime, Dialect, Enum, MetaData
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time in every database.

    SQLite has no time zones: there the UTC clock time is stored and the zone is put back on
    reading. A naive time is refused, because nobody can say what it means.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive times; hand every other to the database in UTC."""
        if value is None:
            return None
        if value.utcoffset() is None:
            raise ValueError(f"a naive time can't be stored: {value!r}; give it tzinfo=UTC")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give back an aware UTC time, whatever zone the connection speaks."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


Json = JSON().with_variant(JSONB(), "postgresql")


def by_value(kind: type[StrEnum], name: str, *, is_checked: bool = True) -> Enum:
    """Return the column type that stores `kind` by its values, held to them by a CHECK.

    `name` is the constraint's name before the naming convention adds the table's. Not `is_checked`
    is a column that came after its table: SQLite adds no constraint to a table that is there.
    """
    return Enum(
        kind,
        name=name,
        native_enum=False,
        create_constraint=is_checked,
        length=16,
        values_callable=lambda members: [member.value for member in members],
    )


class Base(DeclarativeBase):
    """The common base of all tables; its naming convention makes every constraint droppable."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: dict[Any, Any] = {datetime: UtcDateTime}  # noqa: RUF012  (SQLAlchemy reads it from the class)
