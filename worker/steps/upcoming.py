"""Upcoming: what is to be asked for next, and what is to be looked for; each in its turn."""

from collections.abc import Callable

from sqlalchemy.orm import Session

from models import Export, State, admission, claims
from models.database import autocommitted
from worker.steps.kit import Kit
from worker.steps.report import Step, Wake

# Claims so many of what is next, at the most.
Take = Callable[[Kit, Session, int], list[Export]]


def due(kit: Kit) -> tuple[bool, bool]:
    """Return whether some are unknown, and whether it seems that one more can be asked for.

    Each lane makes sure of it.
    """
    account, now = kit.slicer.owner, kit.now()
    with autocommitted(kit.sessions) as session:
        some_are_unknown, some_are_requested = (
            bool(claims.due(session, state, now=now, limit=1, account=account))
            for state in (State.SUBMITTING, State.REQUESTED)
        )
        return some_are_unknown, some_are_requested and _has_room(kit, session)


def _has_room(kit: Kit, session: Session) -> bool:
    taken = claims.count(session, admission.IN_THE_WINDOW, account=kit.slicer.owner)
    return taken < kit.governor.window(session)


def unknown(kit: Kit, session: Session, number: int) -> list[Export]:
    """Claim those that are next of which it is not known whether Uplynk has them, if any are."""
    account, now = kit.slicer.owner, kit.now()
    until = now + kit.settings.call_claim
    return claims.take(
        session, State.SUBMITTING, now=now, until=until, limit=number, account=account
    )


def requested(kit: Kit, session: Session, number: int) -> list[Export]:
    """Claim those that Uplynk is to be asked for next, as far as the window has room.

    The intent to ask is on record before anybody is asked.
    """
    account = kit.slicer.owner
    admission.lock(session)
    now = kit.now()  # the lock may have taken its time
    outlook = admission.outlook(session, account=account, now=now, most=number)
    room = max(kit.governor.window(session) - outlook.taken, 0)
    until = now + kit.settings.call_claim
    return admission.admit(session, outlook.chosen[:room], account=account, now=now, until=until)


def later(kit: Kit) -> tuple[Wake, ...]:
    """Return the wake-up for what was put off, if anything was."""
    with autocommitted(kit.sessions) as session:
        times = [
            claims.next_due(session, state, account=kit.slicer.owner)
            for state in (State.SUBMITTING, State.REQUESTED)
        ]
    to_come = [time for time in times if time is not None and time > kit.now()]
    return (Wake(Step.SUBMIT, at=min(to_come)),) if to_come else ()
