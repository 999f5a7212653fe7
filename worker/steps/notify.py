"""Notify: what the outbox holds is told to the CMS, once at least, and in order for each request.

No receiver keeps another from its turn, nor a worker from its other steps (see `courier`).
"""

import json
from collections import Counter
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy.orm import Session

from models import Channel, Notification, Request, deliveries
from worker import pace, tracing
from worker.errors import Stopping, Transient, Undelivered
from worker.logs import about, get_logger
from worker.steps import ledger
from worker.steps.courier import LONGEST_REST, Outcome
from worker.steps.kit import Kit
from worker.steps.persistence import persist
from worker.steps.report import Report, Step, Wake
from worker.transfer.patience import Patience

# A message begins none later than this.
MESSAGE_SECONDS = 10.0
# What is due and can't be taken now is looked for again after this.
A_MOMENT = timedelta(seconds=1)
# For so long a claim holds beyond what the receiver may take: names have to be looked up as well.
MARGIN = timedelta(seconds=30)

_log = get_logger(__name__)


def notify(kit: Kit) -> Report:
    """Deliver what is due, as far as a message goes; what fails is due again later, or given up.

    A message goes on as long as that goes well. It waits for nothing that hangs: that comes to its
    end without it.
    """
    message = Patience(MESSAGE_SECONDS, kit.stopping)
    counts = Counter[bool]()
    while not (message.is_over or kit.stopping()):
        for each, request in _taken(kit):
            kit.courier.bring(each.receiver, partial(_tell, kit, each, request))
        landed = kit.courier.wait()
        counts += landed
        if not landed:
            break
    facts = {"delivered": counts[True], "failed": counts[False]}
    return Report(facts, _next(kit, goes_on=message.is_over), took=counts.total())


def waking(kit: Kit, session: Session) -> tuple[Wake, ...]:
    """Return what wakes this step: at once if something is due, or when it will be."""
    due_at = deliveries.next_due(session)
    if due_at is None:
        return ()
    return (Wake(Step.NOTIFY, at=due_at if due_at > kit.now() else None),)


def _next(kit: Kit, *, goes_on: bool) -> tuple[Wake, ...]:
    """Return what wakes this step after a message; at once only if that has come to its end."""
    now = kit.now()
    with kit.sessions.begin() as session:
        due_at = deliveries.next_due(session)
        names = deliveries.receivers(session, now=now)
    if due_at is None:
        return ()
    if due_at <= now:
        free_at = kit.courier.free_at(names, now=now)
        if goes_on and free_at == now:
            return (Wake(Step.NOTIFY, goes_on=True),)
        due_at = max(free_at, now + A_MOMENT)
    return (Wake(Step.NOTIFY, at=due_at),)


def _taken(kit: Kit) -> list[tuple[Notification, Request]]:
    """Return what is to be delivered next, to several receivers if it is due for several."""
    now = kit.now()
    patience = timedelta(seconds=kit.settings.webhook_timeout_seconds)
    until = now + kit.settings.claim + patience + MARGIN
    taken: list[Notification] = []
    with kit.sessions.begin() as session:
        names = deliveries.receivers(session, now=now)
        kit.random.shuffle(names)
        for name, room in kit.courier.room(names, now=now).items():
            taken += deliveries.take(session, name, now=now, until=until, limit=room)
        return [(each, session.get_one(Request, each.request_id)) for each in taken]


def _tell(
    kit: Kit, notification: Notification, request: Request
) -> tuple[Outcome, datetime | None]:
    """Deliver one, and set down what became of it."""
    outcome: Outcome = None
    try:
        with tracing.delivery(request):
            _deliver(kit, notification, request)
    except (Undelivered, Stopping) as error:
        outcome = error
    except Exception as error:  # noqa: BLE001  (the boundary of a row)
        _log.error("notification met the unforeseen", request_id=request.id, exc_info=error)
        outcome = Undelivered(f"unforeseen: {error!r:.200}")
    return outcome, persist(kit, partial(_record, kit, notification, outcome))


def _deliver(kit: Kit, notification: Notification, request: Request) -> None:
    payload: dict[str, Any] = notification.payload
    if notification.channel is Channel.TASK:
        kit.call(str(request.callback_task), str(request.callback_queue), payload)
    else:
        body = json.dumps(payload, ensure_ascii=False, separators=(",", ":"))
        kit.webhooks.post(str(request.webhook_url), str(payload["id"]), body)


def _record(kit: Kit, taken: Notification, outcome: Outcome) -> datetime | None:
    """Set down what became of it, if its claim still holds; returns until when to leave alone."""
    with kit.sessions.begin() as session:
        held = deliveries.held(session, taken)
        if held is None:
            return None
        now = kit.now()
        _settle(kit, held, outcome, now=now)
        is_away = isinstance(outcome, Undelivered) and outcome.is_of_receiver
        return min(held.due_at or now, now + LONGEST_REST) if is_away else None


def _settle(kit: Kit, held: Notification, error: Outcome, *, now: datetime) -> None:
    held.claim = held.claimed_until = None
    if isinstance(error, Stopping):
        held.due_at = now
        return
    held.attempts += 1
    if error is None:
        held.due_at, held.delivered_at, held.last_error = None, now, None
        _log.info("notification delivered", request_id=held.request_id, attempt=held.attempts)
        return
    delay = _again(kit, held, error)
    held.last_error = str(error)
    held.due_at = None if delay is None else now + delay
    held.dead_at = now if delay is None else None
    ledger.current().failure(held, Transient("undelivered", held.last_error))
    said = {"attempt": held.attempts, "message": held.last_error}
    with about(request_id=held.request_id):
        if delay is None:
            _log.error("notification given up", **said)
        else:
            _log.warning("notification not delivered", **said)


def _again(kit: Kit, held: Notification, error: Undelivered) -> timedelta | None:
    """Return how long to wait before the next try; None: there is none.

    A broker that is away is ours, and comes back; all else has a schedule.
    """
    if error.is_final:
        return None
    if held.channel is Channel.TASK and error.is_of_receiver:
        return pace.retry_delay(held.attempts, random=kit.random)
    return pace.webhook_again(held.attempts, random=kit.random, retry_after=error.retry_after)
