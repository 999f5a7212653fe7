"""Streams: several connections that bring the parts of one file, as many as help."""

import time
from contextlib import closing, nullcontext
from contextvars import copy_context
from threading import Condition, Thread
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import requests

from worker.errors import Transient
from worker.transfer import ask, replies
from worker.transfer.bounds import Bounds
from worker.transfer.guard import Guard
from worker.transfer.manner import Manner
from worker.transfer.part import Part
from worker.transfer.session import FileSession
from worker.transfer.spans import Plan, Share
from worker.transfer.stall import Meter
from worker.transfer.tuner import Pace

# One of several streams is asked to bring what it brings in so long, or at least so much: the less,
# the nearer are all of them to each other and to who hashes the file; the more, the fewer requests.
SHARE_SECONDS = 4.0
LEAST_ASKED_BYTES = 16 << 20
# Less than this is brought before more streams could help.
LEAST_BYTES = 16 << 20
# A stream that brought so much before it broke has not failed; and a break is waited over so long.
LEAST_PROGRESS_BYTES = 1 << 20
PAUSE_SECONDS = 0.2
# A line that is too far ahead of the disk looks so often whether it has caught up.
UNSYNCED_PAUSE_SECONDS = 0.05
# A server that takes no more streams may do so again.
FEWER_SECONDS = 60.0


class Streams:
    """Brings what a part lacks: the caller's own stream, and helpers while they help.

    Args:
        http: the caller's session; each helper has one of its own, that is cut with this.
        url: where the file is.
        part: where it comes.
        total: how long the file is, if that is known.
        guard: is told of each piece, by each of the threads.
        bounds: how large the file may be.
        manner: how it is fetched.
    """

    def __init__(
        self,
        http: FileSession,
        url: str,
        part: Part,
        total: int | None,
        *,
        guard: Guard,
        bounds: Bounds,
        manner: Manner,
    ) -> None:
        self._http, self._url, self._part, self._total = http, url, part, total
        self._guard, self._bounds, self._manner = guard, bounds, manner
        self._plan = Plan(part.gaps(total))
        self._most = self._wanted = 1
        self._pace = Pace()
        self._flowing: set[int] = set()
        self._may_help, self._fewer_until = False, 0.0
        self._helpers: dict[int, Thread] = {}
        self._siblings: list[FileSession] = []
        self._error: BaseException | None = None
        self._is_over = False
        self._changed = Condition()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_over = True
        for http in list(self._siblings):
            http.cut()
        for helper in list(self._helpers.values()):
            helper.join()
        if error is None and self._error is not None:
            raise self._error  # of the last write of all

    def bring(self, reply: requests.Response) -> None:
        """Bring all that is lacking, beginning with `reply`, which brings the first gap.

        Raises:
            Transient: it broke off, and can't be gone on with here and now.
            Permanent: the file is too large.
        """
        share = self._next(0)  # before a helper takes it
        if share is not None:
            self._plan.flows(share, self._total if reply.status_code == ask.OK else share.end)
        self._begin_to_tune(reply)
        self._work(self._http, 0, share, reply)

    def _work(
        self,
        http: FileSession,
        number: int,
        share: Share | None,
        reply: requests.Response | None = None,
    ) -> None:
        """Bring `share` and then one after the other, as long as there are any."""
        breaks = 0
        while share is not None:
            first, hang_up = share.at, http.hang_up
            try:
                with closing(reply or self._asked(http, share, number)) as opened:
                    self._pour(opened, share, number)
                    hang_up = http.let_go if ask.is_read(opened) else hang_up
                breaks = 0
            except Transient as error:
                self._check()
                breaks = 0 if share.at - first >= LEAST_PROGRESS_BYTES else breaks + 1
                is_over = isinstance(error, ask.UrlGone) or self._part.origin is None
                if is_over or breaks > self._manner.most_breaks:
                    raise
            finally:
                reply = None
                self._flowing.discard(number)
                hang_up()
                self._give_back(share)
            if breaks:
                self._wait(PAUSE_SECONDS * breaks)
            share = self._next(number)

    def _next(self, number: int) -> Share | None:
        """Return what a stream is to bring next; the first one stays until nothing is lacking."""
        if number:
            is_wanted = number < self._wanted and not self._is_over
            return self._take() if is_wanted else None
        while (share := self._take()) is None and not self._plan.is_done:
            self._wait(PAUSE_SECONDS)
        self._check()
        return share

    def _take(self) -> Share | None:
        most = max(LEAST_ASKED_BYTES, int(SHARE_SECONDS * self._pace.rate_of_one))
        return self._plan.take(streams=self._wanted, most=most)

    def _asked(self, http: FileSession, share: Share, number: int) -> requests.Response:
        """Return the answer that brings the share."""
        origin = self._part.origin
        assert origin is not None  # noqa: S101  (without one nothing is gone on with)
        end = share.end
        last = None if end == self._total else end
        try:
            reply = ask.span(http, self._url, origin, share.at, last)
        except Transient:
            self._fewer_than(number)
            raise
        is_answer = reply.status_code == ask.PARTIAL or (
            reply.status_code == ask.UNSATISFIABLE and end is None
        )
        if is_answer and replies.goes_on(reply, origin, share.at):
            self._plan.flows(share, end)
            return reply
        reply.close()
        self._fewer_than(number)
        raise ask.broken_off("the file's host does not go on with this file")

    def _pour(self, reply: requests.Response, share: Share, number: int) -> None:
        """Write what comes to where it belongs, until the share is there or another's."""
        if reply.status_code == ask.UNSATISFIABLE:  # the file ends here
            self._plan.end(share)
            return
        meter = Meter(self._manner.floor)
        if share.at == share.end:  # another has it by now, to whom it came anyway
            return
        for piece in ask.pieces(reply):
            self._flowing.add(number)
            self._manner.came(len(piece))
            self._write(share, memoryview(piece))
            done = self._part.size_bytes
            self._guard.progress(done, self._total)
            if share.at == share.end or (number and number >= self._wanted):
                return
            meter.add(len(piece))
            if self._error is not None:
                raise self._error
            if number == 0:
                self._tune(done)
        if share.end is None and self._ends_here(reply, share):
            self._plan.end(share)
        elif share.end is None or share.at < share.end:
            done = self._part.size_bytes
            raise ask.broken_off(f"{done} bytes came of {self._total} that were declared")

    def _ends_here(self, reply: requests.Response, share: Share) -> bool:
        """Return whether the file ends where a reply did; one to a range may bring less."""
        return reply.status_code == ask.OK or replies.total_bytes(reply) == share.at

    def _write(self, share: Share, rest: memoryview) -> None:
        """Write a piece, but for what of it is another's by now."""
        while rest:
            at, size = self._plan.move(share, len(rest))
            self._bounds.check_size(at + size)
            self._part.write(at, rest[:size])
            rest = rest[size:]
            while self._part.unsynced_bytes > self._manner.ahead_bytes:
                self._wait(UNSYNCED_PAUSE_SECONDS)
            if share.at == share.end and not self._plan.extend(share):
                return

    def _begin_to_tune(self, reply: requests.Response) -> None:
        """Let there be helpers, if the file is large and its server knows ranges."""
        done = self._part.size_bytes
        knows_ranges = (
            reply.status_code == ask.PARTIAL or reply.headers.get("Accept-Ranges") == "bytes"
        )
        is_large = self._total is not None and self._total - done >= LEAST_BYTES
        if knows_ranges and is_large and self._part.origin is not None:
            self._may_help, self._most = True, self._manner.most_streams
        self._pace.begin(done, most=self._most)

    def _tune(self, done: int) -> None:
        """Have as many helpers as the rate says that are of use."""
        if self._may_help and time.monotonic() > self._fewer_until:
            self._most = self._manner.most_streams
        if count := self._pace.count(done, flowing=len(self._flowing)):
            self._hire(min(count, self._most))

    def _hire(self, wanted: int) -> None:
        self._pace.expect(wanted)
        self._wanted = wanted
        for number in range(1, self._wanted):
            helper = self._helpers.get(number)
            if helper is None or not helper.is_alive():
                name = f"stream-{number}-{self._part.path.stem}"
                # in a context like this one: what is traced here, is there
                run = copy_context().run
                helper = Thread(target=run, args=(self._help, number), name=name, daemon=True)
                try:
                    helper.start()
                except RuntimeError:  # this machine has no more threads to give
                    self._fewer_than(number)
                    return
                self._helpers[number] = helper

    def _help(self, number: int) -> None:
        """Be a helper; what goes wrong here ends it all only if it is final."""
        lanes, host = self._manner.lanes, urlsplit(self._url).hostname or ""
        try:
            with (
                lanes.one(host) if lanes else nullcontext(enter_result=True) as is_free,
                self._http.sibling() as http,
            ):
                if is_free:
                    self._siblings.append(http)
                    self._work(http, number, self._next(number))
        except Transient:
            pass  # the others bring what it has not
        except BaseException as error:  # noqa: BLE001  (for the one who waits)
            with self._changed:
                self._error = self._error or error
                self._changed.notify_all()
            self._http.cut()

    def _fewer_than(self, number: int) -> None:
        """Have no helper of this number or above for a while: the server takes no more streams."""
        if number:
            self._most = min(self._most, number)
            self._wanted = min(self._wanted, number)
            self._fewer_until = time.monotonic() + FEWER_SECONDS

    def _give_back(self, share: Share) -> None:
        with self._changed:
            self._plan.give_back(share)
            self._changed.notify_all()

    def _wait(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait(seconds)
        self._check()

    def _check(self) -> None:
        """Raise what ends it all: what the guard says, or what a helper met."""
        self._guard.check()
        if self._error is not None:
            raise self._error
