"""Calm: after a storm the world is left alone until everything has ended, within a bound."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from sqlalchemy import func, select

from models import Export, Notification, Request
from models.state import UNDER_WAY
from tests.chaos import events, processes
from tests.chaos.broker import Wipe
from tests.chaos.fleet import MOST_STOP_SECONDS
from tests.chaos.remains import Leavings
from tests.chaos.sender import Sender
from tests.chaos.wishes import Wish
from tests.chaos.world import World

LOOK_SECONDS = 0.2
# A message in a dead worker's hands comes back after the visibility timeout of 30 s.
DRAIN_SECONDS = 75.0
ON_RECORD_SECONDS = 60.0
QUIET_SECONDS = 30.0

# The sender notes a moment after the broker has a message that it was accepted.
NOTED_AFTER = timedelta(seconds=1)


@dataclass(slots=True)
class Calm:
    """What happened until everything had ended.

    Attributes:
        resent: ids of requests whose message was gone, by why: `wiped` with the broker's others;
            `vanished` without excuse.
        seconds: how long it took until everything had ended, or None if it had not by the bound.
    """

    resent: dict[str, list[str]] = field(default_factory=lambda: {"wiped": [], "vanished": []})
    seconds: float | None = None


def come(world: World, sender: Sender, *, bound_seconds: float) -> Calm:
    """Undo the storm, have the CMS resend what is not on record, and wait for the ends."""
    begin = time.monotonic()
    calm = Calm()
    events.calm(world)
    sender.finish(DRAIN_SECONDS)
    _until(world, lambda: not world.broker.messages(), DRAIN_SECONDS)
    _resend(world, sender, calm)
    if _until(world, lambda: _under_way(world) == _untold(world) == 0, bound_seconds):
        calm.seconds = time.monotonic() - begin
    return calm


def _resend(world: World, sender: Sender, calm: Calm) -> None:
    """Send again what is not on record, as a CMS does, having noted why it is not."""
    missing = _missing(world, sender)
    for wish in missing:
        last = max(sender.accepted[wish.request_id])
        calm.resent[excuse(last, world.broker.wipes)].append(wish.request_id)
    for _ in range(3):
        if not missing:
            return
        sender.send(missing)
        _until(world, lambda: not _missing(world, sender), ON_RECORD_SECONDS / 3)
        missing = _missing(world, sender)


def excuse(accepted: datetime, wipes: Sequence[Wipe]) -> Literal["wiped", "vanished"]:
    """Return why a message may be gone that the broker accepted then.

    Args:
        accepted: when the broker took it for the last time.
        wipes: when every message was destroyed.
    """
    was_wiped = any(accepted <= wipe.end + NOTED_AFTER for wipe in wipes)
    return "wiped" if was_wiped else "vanished"


def _missing(world: World, sender: Sender) -> list[Wish]:
    with world.sessions.begin() as session:
        known = set(session.scalars(select(Request.id)))
    return [wish for wish in sender.wishes if wish.request_id not in known]


def _under_way(world: World) -> int:
    query = select(func.count()).select_from(Export).where(Export.state.in_(UNDER_WAY))
    with world.sessions.begin() as session:
        return session.scalar(query) or 0


def _untold(world: World) -> int:
    query = select(func.count()).where(Notification.due_at.is_not(None))
    with world.sessions.begin() as session:
        return session.scalar(query) or 0


def leave(world: World) -> Leavings:
    """Ask every worker to end; returns what is left behind, before and after."""
    messages = _messages_that_stay(world)
    idle = world.database.connections()
    living = len(processes.of_sessions({hand.pid for hand in world.fleet.at_work.values()}))
    for post in world.fleet.posts:
        world.fleet.terminate(post)
    _until(world, lambda: not world.fleet.leaving, MOST_STOP_SECONDS + 5)
    # the system takes a moment to close what a dead process had
    _until(world, lambda: not world.database.connections() and not world.fleet.left(), 10.0)
    return Leavings(
        messages=messages,
        idle=idle,
        connections=world.database.connections(),
        processes=[f"{seen.pid}: {seen.command}" for seen in world.fleet.left()],
        stops=dict(world.fleet.stops),
        deaths=list(world.fleet.deaths),
        living=living,
    )


def _messages_that_stay(world: World) -> dict[str, int]:
    """Return the messages that the broker holds at each look, for as long as is waited for none.

    The workers' own wake-ups come and go all the while: a single look may see one of them.
    """
    seen: list[dict[str, int]] = []

    def are_none() -> bool:
        seen.append(world.broker.messages())
        return not seen[-1]

    _until(world, are_none, QUIET_SECONDS)
    return seen[-1]


def _until(world: World, is_so: Callable[[], bool], seconds: float) -> bool:
    """Wait until it is so, at most so many seconds; returns whether it is."""
    end = datetime.now(UTC) + timedelta(seconds=seconds)
    while not is_so():
        if datetime.now(UTC) > end:
            return False
        world.fleet.look()
        time.sleep(LOOK_SECONDS)
    return True
