"""Notify: what the outbox holds is told to the CMS, once at least, and in order for each request.

No receiver keeps another from its turn: of each a few are taken at a time, all of them are under
way side by side, and one that is away is left alone for a while as a whole.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy.orm import Session

from models import Channel, Notification, Request, deliveries
from worker import pace, tracing
from worker.errors import Stopping, Transient, Undelivered
from worker.logs import about, get_logger
from worker.steps import ledger
from worker.steps.kit import Kit
from worker.steps.persistence import persist
from worker.steps.report import Report, Step, Wake
from worker.transfer.patience import Patience

# So many are under way at once, and so many of them to one receiver.
MOST_AT_ONCE = 16
MOST_PER_RECEIVER = 8
# A message begins none later than this.
MESSAGE_SECONDS = 10.0
# While some are under way it is looked so often whether others are due.
LOOK_SECONDS = 0.5
TOGETHER_SECONDS = 0.05
# For so long at the most a receiver is left alone that was away for one of its notifications.
LONGEST_REST = timedelta(minutes=5)

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Told:
    """What became of a notification: delivered, unless there is an error."""

    notification: Notification
    error: Undelivered | Stopping | None = None


def notify(kit: Kit) -> Report:
    """Deliver what is due, as far as a message goes; what fails is due again later, or given up."""
    message = Patience(MESSAGE_SECONDS, kit.stopping)
    counts = Counter[bool]()
    under_way: dict[Future[_Told], str] = {}
    with ThreadPoolExecutor(MOST_AT_ONCE, thread_name_prefix="notify") as pool:
        while True:
            if not (message.is_over or kit.stopping()):
                for each, request in _taken(kit, Counter(under_way.values())):
                    tell = partial(_tell, kit, each, request)
                    # in a context like this one: what it logs names this task too
                    under_way[pool.submit(copy_context().run, tell)] = each.receiver
            if not under_way:
                break
            told = _landed(under_way)
            if told:
                persist(kit, partial(_record, kit, told))
            counts.update(each.error is None for each in told)
    with kit.sessions.begin() as session:
        wakes = waking(kit, session, goes_on=True)
    facts = {"delivered": counts[True], "failed": counts[False]}
    return Report(facts, wakes, took=counts.total())


def _landed(under_way: dict[Future[_Told], str]) -> list[_Told]:
    """Return what has come to its end of what is under way, and take it off that.

    It waits a little for the first, and a moment longer for those that come with it: they are set
    down together. What hangs is not waited for.
    """
    wait(under_way, timeout=LOOK_SECONDS, return_when=FIRST_COMPLETED)
    done, _ = wait(under_way, timeout=TOGETHER_SECONDS)
    for each in done:
        del under_way[each]
    return [each.result() for each in done]


def waking(kit: Kit, session: Session, *, goes_on: bool = False) -> tuple[Wake, ...]:
    """Return what wakes this step: at once if something is due, or when it will be."""
    due_at = deliveries.next_due(session)
    if due_at is None:
        return ()
    if due_at > kit.now():
        return (Wake(Step.NOTIFY, at=due_at),)
    return (Wake(Step.NOTIFY, goes_on=goes_on),)


def _taken(kit: Kit, busy: Counter[str]) -> list[tuple[Notification, Request]]:
    """Return what is to be delivered next, to several receivers if it is due for several.

    Args:
        kit: what to work with.
        busy: how many are under way to each receiver.
    """
    now = kit.now()
    until = now + kit.settings.claim + timedelta(seconds=kit.settings.webhook_timeout_seconds)
    room = MOST_AT_ONCE - busy.total()
    taken: list[Notification] = []
    if not room:
        return []
    with kit.sessions.begin() as session:
        names = deliveries.receivers(session, now=now)
        kit.random.shuffle(names)
        for name in names:
            limit = min(room - len(taken), MOST_PER_RECEIVER - busy[name])
            if limit > 0:
                taken += deliveries.take(session, name, now=now, until=until, limit=limit)
        return [(each, session.get_one(Request, each.request_id)) for each in taken]


def _tell(kit: Kit, notification: Notification, request: Request) -> _Told:
    try:
        with tracing.delivery(request):
            _deliver(kit, notification, request)
    except (Undelivered, Stopping) as error:
        return _Told(notification, error)
    except Exception as error:  # noqa: BLE001  (the boundary of a row in a batch)
        _log.error("notification met the unforeseen", request_id=request.id, exc_info=error)
        return _Told(notification, Undelivered(f"unforeseen: {error!r:.200}"))
    return _Told(notification)


def _deliver(kit: Kit, notification: Notification, request: Request) -> None:
    payload: Mapping[str, Any] = notification.payload
    if notification.channel is Channel.TASK:
        kit.call(str(request.callback_task), str(request.callback_queue), payload)
    else:
        body = json.dumps(payload, ensure_ascii=False, separators=(",", ":"))
        kit.webhooks.post(str(request.webhook_url), str(payload["id"]), body)


def _record(kit: Kit, told: Sequence[_Told]) -> None:
    """Set down what became of each whose claim still holds."""
    outcomes = {each.notification.id: each.error for each in told}
    with kit.sessions.begin() as session:
        now = kit.now()
        resting: dict[str, datetime] = {}
        for held in deliveries.held(session, [each.notification for each in told]):
            error = outcomes[held.id]
            _settle(kit, held, error, now=now)
            if isinstance(error, Undelivered) and error.is_of_receiver:
                rest = min((held.due_at or now) - now, LONGEST_REST)
                resting[held.receiver] = now + rest
        for receiver, until in resting.items():
            deliveries.put_off(session, receiver, until=until)


def _settle(
    kit: Kit, held: Notification, error: Undelivered | Stopping | None, *, now: datetime
) -> None:
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

    A broker that is away is ours, and comes back; a webhook has its schedule.
    """
    if error.is_final:
        return None
    if held.channel is Channel.TASK:
        return pace.retry_delay(held.attempts, random=kit.random)
    return pace.webhook_again(held.attempts, random=kit.random, retry_after=error.retry_after)
