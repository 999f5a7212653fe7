"""Submit: what is due is asked for side by side, the most urgent first, while there is room."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from models import Export, State, admission, claims, outbox
from worker import tracing
from worker.cloudslicer.allowance import Kind
from worker.logs import about, get_logger
from worker.steps import failure, probe
from worker.steps.asking import ask, find, give_back
from worker.steps.kit import Kit
from worker.steps.report import Report, Step, Wake
from worker.transfer.patience import Patience

Lane = Future[None]
Take = Callable[[Kit, Session, int], list[Export]]
Act = Callable[[Kit, Export], list[Wake]]

# One message works off about this many; then it makes room for others, and is sent again.
MOST_AT_ONCE = 20
# One more is asked for beside the others each time that so much has gone by: where Uplynk answers
# fast, more lanes bring nothing. Where none was needed it is looked again after a while.
RAMP_SECONDS = 0.1
LOOK_SECONDS = 1.0
# So many are claimed together at the most, where Uplynk answers fast: to claim one costs more than
# to ask for it.
MOST_TOGETHER = 8

# So many exports are named in its task's result.
MOST_TOLD = 5

# Where too many calls were made it goes on after this.
A_MOMENT = timedelta(seconds=1)

_log = get_logger(__name__)


def submit(kit: Kit) -> Report:
    """Ask Uplynk for the exports that are due, the most urgent first, while the window has room.

    An export whose outcome is unknown (it is `submitting`, and nobody is at it) is looked for in
    Uplynk's list before all else, and asked for again only when it is surely not there.
    """
    if away_until := probe.away_until(kit):
        return Report({"uplynk": "away"}, (Wake(Step.SUBMIT, at=away_until),))
    message = _Message(kit)
    _work_off(kit, message)
    return message.told()


class _Message:
    """What the lanes of one message have done so far, and how much more they may do."""

    def __init__(self, kit: Kit) -> None:
        self._kit = kit
        self._patience = Patience(kit.crew.step_seconds, kit.stopping)
        self._begun = dict[object, float]()  # of what is being asked, when
        self._claimed = deque[tuple[float, Export]]()  # when, and not asked for yet
        self._took_seconds: float | None = None  # what Uplynk took last
        self._over_at: float | None = None  # when it was enough
        self.failed = list[BaseException]()  # what lanes raised, and who has them work
        self.is_throttled = False
        self.vain = set[Take]()  # what has just taken nothing
        self.asked = list[str]()
        self.wakes = list[Wake]()

    @property
    def _is_to_stop(self) -> bool:
        kit = self._kit
        has_to = kit.stopping() or kit.circuit.is_open
        return has_to or self.is_throttled or bool(self.failed)

    @property
    def has_claimed(self) -> bool:
        """Whether something is claimed that is to be asked for."""
        return bool(self._claimed) and not self._is_to_stop

    def may_go_on(self) -> bool:
        """Return whether more may be claimed."""
        if self._is_to_stop:
            return False
        if len(self.asked) < MOST_AT_ONCE and not self._patience.is_over:
            return True
        now = time.monotonic()
        self._over_at = self._over_at or now
        # a call that hangs keeps the message from its end: then the others go on; but not for one
        # that was begun only meanwhile
        since = min(self._over_at, now - self._kit.crew.late_seconds)
        return any(begun < since for begun in list(self._begun.values()))

    def look_again(self) -> None:
        """Forget what could not be done a while ago."""
        self.vain.clear()
        self.is_throttled = False

    def together(self) -> int:
        """Return how many are to be claimed at once."""
        if self._took_seconds is None:  # nobody knows how fast Uplynk answers
            return 1
        crew = self._kit.crew
        at_once = crew.ahead_seconds * crew.lanes / self._took_seconds
        return max(int(min(at_once, MOST_TOGETHER, MOST_AT_ONCE - len(self.asked))), 1)

    def claimed(self, exports: list[Export]) -> None:
        """Have these be asked for by whichever lane is free first."""
        now = time.monotonic()
        self._claimed.extend((now, export) for export in exports)

    def next_claimed(self) -> Export | None:
        """Return what is to be asked for next of what is claimed."""
        if not self.has_claimed:
            return None
        with suppress(IndexError):  # another lane has just taken the last one
            return self._claimed.popleft()[1]
        return None

    def give_back(self, *, has_ended: bool = False) -> None:
        """Have what can't be asked for soon be asked for by another message.

        The lanes hang, or this message is to stop, or has ended. What can't be given back either is
        looked for when its claim runs out.
        """
        late = time.monotonic() - self._kit.crew.late_seconds
        with suppress(SQLAlchemyError, IndexError):  # there is none
            while has_ended or self._is_to_stop or self._claimed[0][0] <= late:
                _, export = self._claimed.popleft()
                give_back(self._kit, export, "its turn did not come")
                self.vain.discard(_taken)

    def asked_well(self, seconds: float | None) -> None:
        """Note how long it took to ask for one; None where Uplynk did not take it."""
        self._took_seconds = seconds and max(seconds, 1e-6)

    @contextmanager
    def asking(self, export: Export) -> Iterator[None]:
        """Note that this export is being asked for, or looked for."""
        self.asked.append(str(export.id))
        call = object()
        self._begun[call] = time.monotonic()
        try:
            yield
        finally:
            del self._begun[call]

    def told(self) -> Report:
        """Return what is to be told of it."""
        facts = {"took": len(self.asked), "exports": self.asked[:MOST_TOLD]}
        return Report(facts, tuple(self.wakes), took=len(self.asked))


def _work_off(kit: Kit, message: _Message) -> None:
    """Ask for what is due, in as many lanes as there is work for."""
    lanes = _Lanes(kit, message)
    try:
        while True:
            message.give_back()
            may_go_on, look_after = message.may_go_on(), LOOK_SECONDS
            if (may_go_on or message.has_claimed) and lanes.fill():
                look_after = RAMP_SECONDS
            if not lanes.running:
                break
            if not lanes.wait(look_after) and look_after == LOOK_SECONDS:
                message.look_again()
    finally:
        wait(lanes.running)
        message.give_back(has_ended=True)
    if message.failed:
        raise message.failed[0]
    if message.is_throttled:
        message.wakes.append(Wake(Step.SUBMIT, at=kit.now() + A_MOMENT))
    elif may_go_on:  # there was nothing more
        message.wakes += _later(kit)
    else:
        message.wakes.append(Wake(Step.SUBMIT, goes_on=True))


class _Lanes:
    """The threads that work for one message: some ask, and one at the most looks for jobs."""

    def __init__(self, kit: Kit, message: _Message) -> None:
        self._kit, self._message = kit, message
        self._asking, self._finding = set[Lane](), set[Lane]()

    @property
    def running(self) -> set[Lane]:
        """Those that have not come to their end, as far as was seen."""
        return self._asking | self._finding

    def fill(self) -> bool:
        """Have one more work, if there is work for it; returns whether there was."""
        before, vain = len(self.running), self._message.vain
        if before == self._kit.crew.lanes:
            return False
        if self._message.has_claimed:
            self._asking.add(self._start(_taken, ask))
            return True
        try:
            some_are_unknown, some_may_be_asked_for = _due(self._kit)
        except SQLAlchemyError as error:  # told when all have come to their end
            self._message.failed.append(error)
            return False
        if some_are_unknown and not self._finding and _unknown not in vain:
            self._finding.add(self._start(_unknown, find))
        elif some_may_be_asked_for and _taken not in vain:
            self._asking.add(self._start(_taken, ask))
        return len(self.running) > before

    def _start(self, take: Take, act: Act) -> Lane:
        return self._kit.crew.start(partial(_each, self._kit, self._message, take, act))

    def wait(self, seconds: float) -> bool:
        """Wait until one ends; returns False if none does in time."""
        ended = wait(self.running, seconds, FIRST_COMPLETED).done
        self._asking -= ended
        self._finding -= ended
        return bool(ended)


def _due(kit: Kit) -> tuple[bool, bool]:
    """Return whether some are unknown, and whether it seems that one more can be asked for.

    Each lane makes sure of it.
    """
    account, now = kit.slicer.owner, kit.now()
    with kit.sessions.begin() as session:
        unknown, requested = (
            bool(claims.due(session, state, now=now, limit=1, account=account))
            for state in (State.SUBMITTING, State.REQUESTED)
        )
        return unknown, requested and _has_room(kit, session)


def _has_room(kit: Kit, session: Session) -> bool:
    taken = claims.count(session, admission.IN_THE_WINDOW, account=kit.slicer.owner)
    return taken < kit.governor.window(session)


def _each(kit: Kit, message: _Message, take: Take, act: Act) -> None:
    """Take the step of one export after the other; a lane of the message."""
    try:
        begun = time.monotonic()
        while export := _next(kit, message, take):
            with message.asking(export):
                wakes = _step(kit, export, act)
            message.wakes += wakes
            if outbox.has_news(kit.sessions):
                message.wakes.append(Wake(Step.NOTIFY))
            if take is _unknown:  # there may be room now
                message.vain.discard(_taken)
            else:
                has_job = any(wake.step is Step.POLL for wake in wakes)
                message.asked_well(time.monotonic() - begun if has_job else None)
            begun = time.monotonic()
    except BaseException as error:  # noqa: BLE001  (told when all have come to their end)
        if message.failed and not isinstance(error, SQLAlchemyError):
            _log.error("step met the unforeseen", exc_info=error)
        message.failed.append(error)


def _next(kit: Kit, message: _Message, take: Take) -> Export | None:
    """Return the next that is to be dealt with, as one call to Uplynk is allowed for it."""
    if not (message.may_go_on() or (take is _taken and message.has_claimed)):
        return None
    if not kit.allowance.take(Kind.SUBMIT):
        message.is_throttled = True
        return None
    export = message.next_claimed() if take is _taken else None
    return export or _claim(kit, message, take)


def _claim(kit: Kit, message: _Message, take: Take) -> Export | None:
    """Claim what is next, if the message may go on; return the first, and have the others wait."""
    with kit.crew.turn:
        if take is _taken and (export := message.next_claimed()):  # of what another has claimed
            return export
        if not message.may_go_on():  # the others may have come to grief meanwhile
            return None
        with kit.sessions.begin() as session:
            exports = take(kit, session, message.together() if take is _taken else 1)
        message.claimed(exports[1:])
    if not exports:
        message.vain.add(take)
        return None
    return exports[0]


def _step(kit: Kit, export: Export, act: Act) -> list[Wake]:
    """Take the step of one export; what nobody foresaw of it holds up none of the others.

    Whether Uplynk was asked by then is not known: it stays `submitting`, and its job is looked for.
    """
    with about(export_id=export.id), tracing.step("submit", kit.sessions, export):
        try:
            return act(kit, export)
        except SQLAlchemyError:
            raise
        except Exception as error:  # noqa: BLE001  (the boundary of a row in a batch)
            failure.record_unforeseen(kit, export, error, least=kit.settings.submit_settle)
            return []


def _unknown(kit: Kit, session: Session, number: int) -> list[Export]:
    """Claim those that are next of which it is not known whether Uplynk has them, if any are."""
    account, now = kit.slicer.owner, kit.now()
    until = now + kit.settings.call_claim
    return claims.take(
        session, State.SUBMITTING, now=now, until=until, limit=number, account=account
    )


def _taken(kit: Kit, session: Session, number: int) -> list[Export]:
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


def _later(kit: Kit) -> tuple[Wake, ...]:
    """Return the wake-up for what was put off, if anything was."""
    with kit.sessions.begin() as session:
        times = [
            claims.next_due(session, state, account=kit.slicer.owner)
            for state in (State.SUBMITTING, State.REQUESTED)
        ]
    due = [time for time in times if time is not None and time > kit.now()]
    return (Wake(Step.SUBMIT, at=min(due)),) if due else ()
