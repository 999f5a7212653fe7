"""Notifications: the command that shows what CMSs were told, and tells it again."""

import json
from collections.abc import Collection
from uuid import UUID

import click

from worker import notices, records, tables
from worker.cli.client import wake
from worker.cli.command import Command
from worker.cli.status import Status
from worker.notices import Stand
from worker.settings import ClientSettings, load_client

MOST_AT_ONCE = 1000


@click.command(
    cls=Command,
    examples=(
        "uplynk-export notifications --state dead",
        "uplynk-export notifications --request article-4711 --json | jq .state",
        "uplynk-export notifications --state dead --replay",
    ),
)
@click.argument("ids", metavar="[ID...]", nargs=-1, type=click.UUID)
@click.option("--state", type=click.Choice([str(stand) for stand in Stand]))
@click.option("--request", "request_id", help="Those of one request, by its id.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
@click.option("--replay", is_flag=True, help="Deliver again: IDs, or all with --state dead.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def notifications(
    ids: tuple[UUID, ...],
    *,
    state: str | None,
    request_id: str | None,
    limit: int,
    replay: bool,
    as_json: bool,
) -> None:
    """List what CMSs were told, the newest first, or have it delivered again.

    What is delivered again bears its old id, by which a CMS drops what it knows. The exit status is
    0 only if there are all that were named.
    """
    settings = load_client()
    if replay:
        if bool(ids) == (state == Stand.DEAD) or request_id is not None:
            raise click.UsageError("--replay takes either IDs or --state dead")
        _replay(settings, ids)
        return
    if ids:
        raise click.UsageError("IDs are for --replay")
    with records.reading(settings) as session:
        stands = Stand(state) if state else None
        found = notices.listed(session, stands=stands, request_id=request_id, limit=limit)
    if as_json:
        for each in found:
            click.echo(json.dumps(notices.as_json(each)))
        return
    for line in notices.listing(found, width=tables.width_of(tables.console())):
        click.echo(line)


def _replay(settings: ClientSettings, ids: Collection[UUID]) -> None:
    count, missing = 0, set[UUID]()
    with records.opened(settings) as (sessions, now):
        if ids:
            with sessions.begin() as session:
                there = notices.replay(session, ids, now=now())
            count, missing = len(there), set(ids) - there
        else:
            some = MOST_AT_ONCE
            while some == MOST_AT_ONCE:
                with sessions.begin() as session:
                    some = notices.replay_dead(session, now=now(), limit=MOST_AT_ONCE)
                count += some
    click.echo(f"{count:,} will be delivered", err=True)
    wake(settings)
    for each in sorted(missing):
        click.echo(f"there is no notification {each}", err=True)
    if missing:
        raise click.exceptions.Exit(Status.FAILED)
