"""Status: how a request stands, for a CMS that asks by a message."""

from sqlalchemy.orm import Session, sessionmaker

from models import Request, outbox
from worker.steps.report import Report
from worker.steps.wish import check_id


def status(sessions: sessionmaker[Session], request_id: str) -> Report:
    """Return what the request's CMS would be told of it now; of one that nobody knows no state.

    Raises:
        InvalidRequest: the id is none that a request can have.
    """
    check_id(request_id)
    with sessions.begin() as session:
        request = session.get(Request, request_id)
        facts = outbox.data_of(request) if request else {"request_id": request_id, "state": None}
    return Report(facts)
