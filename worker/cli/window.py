"""Window: the commands that watch what is under way, and hold it up."""

import time
from collections.abc import Callable

import click
from sqlalchemy.orm import Session

from models import State, admission, claims
from models.pause import EVERYBODY
from models.state import UNDER_WAY
from worker import watching
from worker.cli.client import wake
from worker.cli.command import Command
from worker.clock import Clock
from worker.records import opened, reading
from worker.settings import AccountSettings, load_account

LOOK_SECONDS = 1.0
# What Uplynk was asked for, or may have been.
ASKED_FOR = UNDER_WAY - {State.REQUESTED}

_requester = click.option(
    "--requester", default=EVERYBODY, help="Only what this one asks for; a batch's is its name."
)


@click.command(
    cls=Command,
    examples=(
        "uplynk-export pause",
        "uplynk-export pause --requester spring",
    ),
)
@_requester
def pause(requester: str) -> None:
    """Ask Uplynk for nothing more, until `resume`.

    What it was asked for by then goes on, and its files are brought; requests are taken, and wait.
    """
    settings = load_account()
    is_new = _changed(
        settings,
        lambda session, now: admission.pause(
            session, account=settings.uplynk_user_id, requester=requester, now=now()
        ),
    )
    click.echo(f"{watching.whose(requester)} {'paused' if is_new else 'was paused already'}")


@click.command(
    cls=Command,
    examples=(
        "uplynk-export resume",
        "uplynk-export resume --requester spring",
    ),
)
@_requester
def resume(requester: str) -> None:
    """Ask Uplynk again for what was paused."""
    settings = load_account()
    was_paused = _changed(
        settings,
        lambda session, _: admission.resume(
            session, account=settings.uplynk_user_id, requester=requester
        ),
    )
    click.echo(f"{watching.whose(requester)} {'goes on' if was_paused else 'was not paused'}")
    wake(settings)
    with reading(settings) as session:
        still = admission.who_is_paused(session, settings.uplynk_user_id)
    for each in sorted(still):
        if each == EVERYBODY:
            click.echo("everything is still paused; `resume` goes on", err=True)
        elif requester == EVERYBODY:
            name = watching.whose(each)
            click.echo(f"{name} is still paused; `resume --requester {name}`", err=True)


@click.command(
    cls=Command,
    examples=("uplynk-export drain --timeout 600",),
)
@click.option("--timeout", type=click.FloatRange(min=0), help="Give up after so many seconds.")
def drain(timeout: float | None) -> None:
    """Pause, and wait until all that Uplynk was asked for is in storage or has failed.

    Nothing is lost by stopping to wait: it stays paused until `resume`.
    """
    settings = load_account()
    account, end = settings.uplynk_user_id, None if timeout is None else time.monotonic() + timeout
    said = None
    _changed(
        settings,
        lambda session, now: admission.pause(
            session, account=account, requester=EVERYBODY, now=now()
        ),
    )
    with opened(settings, reads=True) as (sessions, _):
        while True:
            with sessions.begin() as session:
                left = claims.count(session, ASKED_FOR, account=account)
            if left != said:
                click.echo(f"{left:,} under way", err=True)
                said = left
            if not left:
                break
            if end is not None and time.monotonic() >= end:
                raise click.ClickException(f"{left:,} are still under way; it stays paused")
            time.sleep(LOOK_SECONDS)
    click.echo("drained; `uplynk-export resume` goes on")


@click.command(
    cls=Command,
    examples=(
        "uplynk-export watch",
        "uplynk-export watch --once --json | jq .seconds_left",
    ),
)
@click.option("--interval", type=click.FloatRange(min=0.2), default=2.0, show_default=True)
@click.option("--once", is_flag=True, help="Look once, and end.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each look.")
def watch(interval: float, *, once: bool, as_json: bool) -> None:
    """Show what is under way, at which rate, and for how long yet, until interrupted."""
    watching.watch(load_account(), interval=interval, once=once, as_json=as_json)


def _changed(settings: AccountSettings, change: Callable[[Session, Clock], bool]) -> bool:
    with opened(settings) as (sessions, now), sessions.begin() as session:
        return change(session, now)
