"""Changes: what a person has done to requests on record, at once and without a worker."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session, sessionmaker

from models import State
from worker import records, steps
from worker.errors import InvalidRequest
from worker.settings import ClientSettings
from worker.steps import Report, Step


@dataclass(frozen=True, slots=True)
class Change:
    """What became of a request that somebody wanted changed: `says` why, if it is not `well`."""

    request_id: str
    state: State | None
    says: str
    well: bool


def cancel(settings: ClientSettings, names: Sequence[str]) -> Iterator[Change]:
    """Withdraw requests, each by its id or its export's; gives what each is then."""
    return _each(settings, names, _cancelled)


def retry(settings: ClientSettings, names: Sequence[str]) -> Iterator[Change]:
    """Take requests up again, each by its id or its export's; gives what each is then."""
    return _each(settings, names, _retried)


def retry_failed(settings: ClientSettings, code: str) -> int:
    """Take up all requests that failed with `code`; returns how many they were."""
    with records.opened(settings) as (sessions, now):
        before, count = now(), 0
        while True:
            report = steps.retry_failed(sessions, code, now=now(), before=before)
            count += int(str(report.facts["retried"]))
            if not _goes_on(report):
                return count


def retry_some_failed(
    settings: ClientSettings, code: str, *, account: str, limit: int
) -> tuple[int, bool]:
    """Take up, of an account, up to `limit` requests that failed with `code`.

    Returns how many they were, and whether there are more.
    """
    with records.opened(settings) as (sessions, now):
        report = steps.retry_failed(sessions, code, now=now(), account=account, limit=limit)
        return int(str(report.facts["retried"])), _goes_on(report)


def _goes_on(report: Report) -> bool:
    return any(wake.step is Step.RETRY for wake in report.wakes)


def _each(
    settings: ClientSettings,
    names: Sequence[str],
    changed: Callable[[sessionmaker[Session], str, datetime], Change],
) -> Iterator[Change]:
    with records.opened(settings) as (sessions, now):
        for name in names:
            if (request_id := _known(sessions, name)) is None:
                yield Change(name, None, "there is no request or export of this id", well=False)
            else:
                yield changed(sessions, request_id, now())


def _cancelled(sessions: sessionmaker[Session], request_id: str, now: datetime) -> Change:
    state = State(str(steps.cancel(sessions, request_id, now=now).facts["state"]))
    well = state is State.CANCELLED
    return Change(request_id, state, "" if well else "too late to cancel it", well=well)


def _retried(sessions: sessionmaker[Session], request_id: str, now: datetime) -> Change:
    try:
        facts = steps.retry(sessions, request_id, now=now).facts
    except InvalidRequest as error:
        return Change(request_id, None, str(error), well=False)
    return Change(request_id, State(str(facts["state"])), "", well=True)


def _known(sessions: sessionmaker[Session], name: str) -> str | None:
    with sessions.begin() as session:
        request = records.found(session, name)
        return request.id if request else None
