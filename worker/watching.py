"""Watching: what is under way now, as one look at the database tells it."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import click
from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from sqlalchemy.orm import Session, sessionmaker

from models import State, admission, claims, figures
from models.pause import EVERYBODY
from models.state import UNDER_WAY
from worker import tables
from worker.batches import lately, time_left
from worker.pace import JOB_ERASED_AFTER
from worker.printing import plain, span
from worker.records import opened
from worker.settings import AccountSettings
from worker.steps.governor import LATELY


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at the database told of an account.

    Attributes:
        at: when.
        states: how many exports are in each state that has a next step.
        bringing: how many files are being brought just now, and at how many bytes a second.
        lately: how many were stored in the last hour, and since when the first of these was.
        failed: by code, how many failed in the last hour.
        oldest_done: when the job was done whose file is lacking for longest.
        paused: of whom nothing is asked for.
    """

    at: datetime
    states: Mapping[State, int]
    bringing: tuple[int, float]
    lately: tuple[int, timedelta]
    failed: Mapping[str, int]
    oldest_done: datetime | None
    paused: Sequence[str]

    @property
    def left(self) -> int:
        """How many exports have not ended yet."""
        return sum(self.states.values())

    @property
    def window(self) -> int:
        """How many exports Uplynk has."""
        return self.states[State.SUBMITTING] + self.states[State.EXPORTING]

    @property
    def an_hour(self) -> float | None:
        """How many are stored in an hour, by the last one; None where none was."""
        takes = time_left(1, self.lately)
        return timedelta(hours=1) / takes if takes else None

    @property
    def time_left(self) -> timedelta | None:
        """How long what is left takes at that rate; None if that can't be told."""
        return time_left(self.left, self.lately)

    @property
    def margin(self) -> timedelta | None:
        """How long Uplynk keeps the job whose file is lacking for longest; None for none."""
        if self.oldest_done is None:
            return None
        return max(self.oldest_done + JOB_ERASED_AFTER - self.at, timedelta())


def look(session: Session, account: str, *, now: datetime) -> Look:
    """Return what there is to see now."""
    states = {
        state: claims.count(session, (state,), account=account)
        for state in State
        if state in UNDER_WAY
    }
    return Look(
        at=now,
        states=states,
        bringing=figures.being_brought(session, account=account, now=now),
        lately=lately(session, account, now=now),
        failed=figures.failed_since(session, now - LATELY, account=account),
        oldest_done=claims.oldest_done(session, account=account),
        paused=sorted(admission.who_is_paused(session, account)),
    )


def looks(
    sessions: sessionmaker[Session],
    account: str,
    *,
    now: Callable[[], datetime],
    interval: float,
    once: bool = False,
) -> Iterator[Look]:
    """Give one look after the other, `interval` seconds apart, without end unless it is `once`.

    No transaction is open while somebody is at one, or is interrupted at it.
    """
    while True:
        with sessions.begin() as session:
            seen = look(session, account, now=now())
        yield seen
        if once:
            return
        time.sleep(interval)


def watch(settings: AccountSettings, *, interval: float, once: bool, as_json: bool) -> None:
    """Show one look after the other, in place on a terminal, and else one below the other."""
    console = tables.console()
    with opened(settings, reads=True) as (sessions, now):
        seen = looks(sessions, settings.uplynk_user_id, now=now, interval=interval, once=once)
        if as_json:
            for each in seen:
                click.echo(json.dumps(as_values(each)))
        elif once or not console.is_terminal:
            for each in seen:
                console.print(picture(each))
        else:
            with Live(console=console, auto_refresh=False, screen=False) as live:
                for each in seen:
                    live.update(picture(each), refresh=True)


def picture(seen: Look) -> RenderableType:
    """Return a look as a person wants to see it."""
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right")
    table.add_column()
    brought, rate = seen.bringing
    facts = [
        (f"{seen.states[State.REQUESTED]:,}", "wait to be asked for"),
        (f"{seen.window:,}", "under way at Uplynk"),
        (f"{seen.states[State.DOWNLOADING]:,}", _bringing(brought, rate)),
        (f"{seen.lately[0]:,}", "stored in the last hour"),
        (span(seen.time_left), "left, at that rate"),
    ]
    if seen.margin is not None:
        facts.append((span(seen.margin), "until Uplynk erases a job whose file is lacking"))
    for number, what in facts:
        table.add_row(number, what)
    for code, count in sorted(seen.failed.items(), key=lambda item: -item[1]):
        table.add_row(f"[red]{count:,}[/red]", f"failed in the last hour with {escape(code)}")
    for requester in seen.paused:
        table.add_row("[yellow]paused[/yellow]", escape(whose(requester)))
    return Group(f"[bold]{tables.clock(seen.at)}[/bold]", table)


def whose(requester: str) -> str:
    """Return in words of whom nothing is asked for."""
    return "everything" if requester == EVERYBODY else plain(requester)


def _bringing(number: int, rate: float) -> str:
    if not number:
        return "files to be brought"
    return f"files to be brought, {number:,} of them now, at {decimal(int(rate))}/s"


def as_values(seen: Look) -> dict[str, object]:
    """Return a look as JSON values."""
    left, margin = seen.time_left, seen.margin
    return {
        "at": seen.at.isoformat(),
        "states": {str(state): number for state, number in seen.states.items()},
        "window": seen.window,
        "bringing": seen.bringing[0],
        "bytes_per_second": seen.bringing[1],
        "stored_in_the_last_hour": seen.lately[0],
        "exports_per_hour": seen.an_hour,
        "seconds_left": None if left is None else round(left.total_seconds()),
        "seconds_until_a_job_is_erased": None if margin is None else round(margin.total_seconds()),
        "failed_in_the_last_hour": dict(seen.failed),
        "paused": list(seen.paused),
    }
