"""Places: where in Uplynk's list of jobs those are that are due, as far as our records can tell.

The list is taken to have the newest job first (uplynk-api: it is open). It shows others' jobs as
well, and those that have ended: so what is counted here is a place that a job is not before. Unless
the list lacks jobs that we hold to be under way, or we learned of some long after they were made.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, bindparam, func, select
from sqlalchemy.orm import Session

from models.claims import DUE_BY, IS_OF_ACCOUNT, in_state
from models.export import Export
from models.state import State

# What is due beyond this is not counted.
MOST_COUNTED = 200_000

_IS_NO_NEWER = Export.job_created_at <= bindparam("until")
# in the order of ix_exports_due, and no further: with old statistics the planner would take
# uq_exports_under_way, and read the whole backlog
_UNDER_WAY = (
    select(Export.job_created_at)
    .where(in_state(State.EXPORTING), IS_OF_ACCOUNT)
    .order_by(Export.due_at)
    .limit(MOST_COUNTED)
)


def _summed(rows: Select[datetime | None]) -> Select[int, datetime | None]:
    found = rows.subquery()
    return select(func.count(), func.max(found.c.job_created_at)).select_from(found)


_DUE = _summed(_UNDER_WAY.where(DUE_BY))
_DUE_NO_NEWER = _summed(_UNDER_WAY.where(DUE_BY, _IS_NO_NEWER))
_BETWEEN = _summed(
    _UNDER_WAY.where(
        Export.due_at.is_not(None),  # true of them all (see claims.count)
        Export.job_created_at > bindparam("oldest"),
        Export.job_created_at < bindparam("newest"),
    )
)


@dataclass(frozen=True, slots=True)
class Due:
    """Jobs that are due for a look.

    Attributes:
        number: how many, up to MOST_COUNTED.
        newest: when we learned of the newest of them; None if there is none.
    """

    number: int
    newest: datetime | None


def due(session: Session, *, by: datetime, account: str, until: datetime | None = None) -> Due:
    """Return what of `account` is due at Uplynk by `by`, of jobs no newer than `until`."""
    query = _DUE if until is None else _DUE_NO_NEWER
    number, newest = session.execute(query, {"by": by, "of": account, "until": until}).one()
    return Due(number, newest)


def between(session: Session, newest: datetime, oldest: datetime, *, account: str) -> int:
    """Return how many jobs of ours under way are older than `newest`, and newer than `oldest`."""
    values = {"newest": newest, "oldest": oldest, "of": account}
    number, _ = session.execute(_BETWEEN, values).one()
    return number
