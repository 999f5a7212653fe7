"""Finding: the SQL behind the lists of the page.

Each list is one that an index is made for, so that a page of it is read without the rest; and no
more is counted than a person would page through. docs/operate.md says what can be searched for.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, or_, select, union_all
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from models import Export, Notification, Request, State
from models.claims import in_state
from models.export import IS_UNDER_WAY, IS_WITHOUT_FILE
from models.state import UNDER_WAY
from worker.notices import STANDS, Stand
from worker.remedies import REMEDIES
from worker.steps.wish import is_asset

MOST_COUNTED = 10_000

# The list that is no single state's.
ALL_UNDER_WAY = "under-way"


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody wants to see; whatever is empty is not asked for.

    Attributes:
        account: whose exports are meant.
        term: what is searched for: an id or a name, whole.
        which: a state, or one of the lists of this module.
        code: an error's.
        requester: who asked for it.
        batch: the list that it came in.
    """

    account: str
    term: str = ""
    which: str = ""
    code: str = ""
    requester: str = ""
    batch: str = ""


def exports(asked: Asked) -> Select[Export]:
    """Return the exports that are asked for: of those under way what is due first, else the newest.

    Without a term that is those under way, unless `which` says else.
    """
    rows = select(Export).where(Export.account == asked.account)
    if asked.requester:
        rows = rows.where(Export.requester == asked.requester)
    if asked.code:
        rows = rows.where(Export.error_code == asked.code)
    if asked.term:
        rows = rows.where(Export.id.in_(_export_ids(asked)))
        if asked.which in set(State):
            rows = rows.where(Export.state == asked.which)
        return rows.order_by(Export.created_at.desc())
    if asked.which in TERMINAL_LISTS:
        return rows.where(*TERMINAL_LISTS[asked.which]).order_by(Export.state_since.desc())
    states = in_state(State(asked.which)) if asked.which in UNDER_WAY else IS_UNDER_WAY
    # true of them all; by it ix_exports_due serves
    return rows.where(states, Export.due_at.is_not(None)).order_by(Export.due_at)


# The request that a notification is about, and a request's export.
_WISH, _ITS = aliased(Request), aliased(Export)

TERMINAL_LISTS: dict[str, tuple[Any, ...]] = {
    State.STORED: (in_state(State.STORED),),
    # the former in the words of the index
    State.FAILED: (IS_WITHOUT_FILE, in_state(State.FAILED)),
    State.CANCELLED: (IS_WITHOUT_FILE, in_state(State.CANCELLED)),
}


def requests(asked: Asked) -> Select[Request]:
    """Return the requests that are asked for, the newest first."""
    rows = select(Request).outerjoin(_ITS, Request.export_id == _ITS.id).where(_is_of(asked))
    if asked.batch:
        rows = rows.where(Request.batch == asked.batch)
    if asked.requester:
        rows = rows.where(Request.requester == asked.requester)
    if asked.code:
        failed = Request.export.has(IS_WITHOUT_FILE & (Export.error_code == asked.code))
        rows = rows.where(or_(Request.error_code == asked.code, failed))
    if asked.which in set(State):
        rows = rows.where(_stands(State(asked.which)))
    if asked.term:
        rows = rows.where(_is_meant(asked))
    return rows.order_by(Request.created_at.desc())


def notifications(asked: Asked) -> Select[Notification]:
    """Return the notifications that are asked for, the newest first."""
    rows = (
        select(Notification)
        .join(_WISH, Notification.request_id == _WISH.id)
        .outerjoin(_ITS, _WISH.export_id == _ITS.id)
        .where(_is_of(asked))
    )
    if asked.term:
        rows = rows.where(_tells_of(asked.term))
    if asked.which in set(Stand):
        rows = rows.where(STANDS[Stand(asked.which)])
    return rows.order_by(Notification.created_at.desc())


def export(session: Session, account: str, pk: str) -> Export | None:
    """Return the account's export of this id, or None."""
    found = session.get(Export, export_id) if (export_id := uuid_of(pk)) else None
    return found if found and found.account == account else None


def request(session: Session, account: str, pk: str) -> Request | None:
    """Return the request of this id if its export is the account's, or it has none; or None."""
    found = session.get(Request, pk)
    if found is None or (found.export and found.export.account != account):
        return None
    return found


def notification(session: Session, account: str, pk: str) -> Notification | None:
    """Return the notification of this id if its request is the account's, or None."""
    found = session.get(Notification, told_id) if (told_id := uuid_of(pk)) else None
    return found if found and request(session, account, found.request_id) else None


def counted(rows: Select[Any], key: ColumnElement[Any] | InstrumentedAttribute[Any]) -> Select[int]:
    """Return the count of rows, as far as it goes: MOST_COUNTED and one more.

    They are counted in their own order, which has the planner take the index that is meant.
    """
    only = rows.with_only_columns(key, maintain_column_froms=True).limit(MOST_COUNTED + 1)
    return select(func.count()).select_from(only.subquery())


def _is_of(asked: Asked) -> ColumnElement[bool]:
    """Return the condition that a request's export is the account's.

    One that was refused has none, and is of no account. By a join, and in words of which PostgreSQL
    knows how often they are true, it is found out from whichever side has less to read.
    """
    return or_(_ITS.account == asked.account, _ITS.id.is_(None))


def _stands(state: State) -> ColumnElement[bool]:
    """Return the condition that a request's state is this one, as Request.state says it."""
    withdrawn = Request.cancelled_at.is_not(None)
    stands = Request.export.has(in_state(state)) & ~withdrawn
    if state is State.CANCELLED:
        return withdrawn | stands
    if state is State.FAILED:
        return stands | (Request.export_id.is_(None) & ~withdrawn)
    return stands


def _export_ids(asked: Asked) -> Any:  # noqa: ANN401  (a union of any number)
    """Return the ids of the exports that a term means: each part is a search of one index."""
    term, account = asked.term, Export.account == asked.account
    parts = [
        select(Export.id).where(Export.job_id == term),
        select(Request.export_id).where(Request.id == term, Request.export_id.is_not(None)),
        select(Request.export_id).where(Request.batch == term, Request.export_id.is_not(None)),
    ]
    if (export_id := uuid_of(term)) is not None:
        parts.append(select(Export.id).where(Export.id == export_id))
    if is_asset(term.lower()):
        # three partial indexes: together they have each export
        of_asset = (account, Export.asset == term.lower())
        which = (IS_UNDER_WAY, in_state(State.STORED), IS_WITHOUT_FILE)
        parts += [select(Export.id).where(*of_asset, each) for each in which]
    if term in REMEDIES:
        parts.append(select(Export.id).where(IS_WITHOUT_FILE, account, Export.error_code == term))
    return union_all(*parts)


def _is_meant(asked: Asked) -> ColumnElement[bool]:
    """Return the condition that a request is one that the term means."""
    ids = select(Request.id).where(or_(Request.id == asked.term, Request.batch == asked.term))
    of_exports = select(Request.id).where(Request.export_id.in_(_export_ids(asked)))
    return Request.id.in_(union_all(ids, of_exports))


def _tells_of(term: str) -> ColumnElement[bool]:
    is_its = Notification.request_id == term
    if (found := uuid_of(term)) is None:
        return is_its
    of_export = select(Request.id).where(Request.export_id == found)
    return or_(is_its, Notification.id == found, Notification.request_id.in_(of_export))


def uuid_of(term: str) -> UUID | None:
    """Return the id that the text is, or None."""
    try:
        return UUID(term)
    except ValueError:
        return None
