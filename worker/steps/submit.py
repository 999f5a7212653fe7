"""Submit: what is due is asked for side by side, the most urgent first, while there is room."""

import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from datetime import timedelta
from functools import partial

from sqlalchemy.exc import SQLAlchemyError

from models import Export, outbox
from worker import tracing
from worker.cloudslicer.allowance import Kind
from worker.logs import about, get_logger
from worker.steps import failure, probe, upcoming
from worker.steps.asking import ask, find
from worker.steps.kit import Kit
from worker.steps.message import Message
from worker.steps.report import Report, Step, Wake
from worker.steps.upcoming import Take

Lane = Future[None]
Act = Callable[[Kit, Export], list[Wake]]

# One more is asked for beside the others each time that so much has gone by: where Uplynk answers
# fast, more lanes bring nothing. Where none was needed it is looked again after a while.
RAMP_SECONDS = 0.1
LOOK_SECONDS = 1.0

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
    message = Message(kit)
    _work_off(kit, message)
    return message.told()


def _work_off(kit: Kit, message: Message) -> None:
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
        message.wakes += upcoming.later(kit)
    else:
        message.wakes.append(Wake(Step.SUBMIT, goes_on=True))


class _Lanes:
    """The threads that work for one message: some ask, and one at the most looks for jobs."""

    def __init__(self, kit: Kit, message: Message) -> None:
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
            self._asking.add(self._start(upcoming.requested, ask))
            return True
        try:
            some_are_unknown, some_may_be_asked_for = upcoming.due(self._kit)
        except SQLAlchemyError as error:  # told when all have come to their end
            self._message.failed.append(error)
            return False
        if some_are_unknown and not self._finding and upcoming.unknown not in vain:
            self._finding.add(self._start(upcoming.unknown, find))
        elif some_may_be_asked_for and upcoming.requested not in vain:
            self._asking.add(self._start(upcoming.requested, ask))
        return len(self.running) > before

    def _start(self, take: Take, act: Act) -> Lane:
        return self._kit.crew.start(partial(_each, self._kit, self._message, take, act))

    def wait(self, seconds: float) -> bool:
        """Wait until one ends; returns False if none does in time."""
        ended = wait(self.running, seconds, FIRST_COMPLETED).done
        self._asking -= ended
        self._finding -= ended
        return bool(ended)


def _each(kit: Kit, message: Message, take: Take, act: Act) -> None:
    """Take the step of one export after the other; a lane of the message."""
    try:
        begun = time.monotonic()
        while export := _next(kit, message, take):
            with message.asking(export):
                wakes = _step(kit, export, act)
            message.wakes += wakes
            if outbox.has_news(kit.sessions):
                message.wakes.append(Wake(Step.NOTIFY))
            if take is upcoming.unknown:  # there may be room now
                message.vain.discard(upcoming.requested)
            else:
                has_job = any(wake.step is Step.POLL for wake in wakes)
                message.asked_well(time.monotonic() - begun if has_job else None)
            begun = time.monotonic()
    except BaseException as error:  # noqa: BLE001  (told when all have come to their end)
        if message.failed and not isinstance(error, SQLAlchemyError):
            _log.error("step met the unforeseen", exc_info=error)
        message.failed.append(error)


def _next(kit: Kit, message: Message, take: Take) -> Export | None:
    """Return the next that is to be dealt with, as one call to Uplynk is allowed for it."""
    if not (message.may_go_on() or (take is upcoming.requested and message.has_claimed)):
        return None
    if not kit.allowance.take(Kind.SUBMIT):
        message.is_throttled = True
        return None
    export = message.next_claimed() if take is upcoming.requested else None
    return export or _claim(kit, message, take)


def _claim(kit: Kit, message: Message, take: Take) -> Export | None:
    """Claim what is next, if the message may go on; return the first, and have the others wait."""
    is_requested = take is upcoming.requested
    with kit.crew.turn:
        if is_requested and (export := message.next_claimed()):  # of what another has claimed
            return export
        if not message.may_go_on():  # the others may have come to grief meanwhile
            return None
        with kit.sessions.begin() as session:
            exports = take(kit, session, message.together() if is_requested else 1)
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
