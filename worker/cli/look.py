"""Look: the commands that show what is on record of requests."""

import json
from datetime import datetime, timedelta
from typing import Any

import click

from models import State, admission, listing
from models.listing import Listed, Sort, Wanted
from worker import printing, records, story, tables
from worker.cli import kinds
from worker.cli.command import Command
from worker.cli.named import known
from worker.settings import load_client


@click.command(
    "list",
    cls=Command,
    examples=(
        "uplynk-export list",
        "uplynk-export list --state failed --since 2h",
        "uplynk-export list --code storage_unavailable --json | jq -r .request_id",
        "uplynk-export list --asset a29a0bf647454d70bbb9b13d6896a108 --sort created",
        "uplynk-export list --batch spring --state exporting --oldest-first --limit 10",
    ),
)
@click.option("--state", type=click.Choice([str(state) for state in State]))
@click.option(
    "--code",
    type=kinds.code,
    shell_complete=kinds.codes,
    help="Those that ended with this error; see docs/errors.md.",
)
@click.option("--asset", help="Those for this asset.")
@click.option("--requester", help="Those that this one asked for.")
@click.option("--batch", shell_complete=kinds.batches, help="Those of one list.")
@click.option("--since", type=kinds.moment, help="An age (30m, 2h, 7d) or a time, in UTC.")
@click.option("--until", type=kinds.moment, help="The same; only what is older.")
@click.option(
    "--sort",
    type=click.Choice([str(sort) for sort in Sort]),
    help="By when they came, or when they came into their state, as for --state and --code.",
)
@click.option("--oldest-first", is_flag=True, help="Else the newest are.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
@click.option("--after", type=kinds.cursor, help="Go on where a page ended; it says how.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_(
    *,
    state: str | None,
    sort: str | None,
    since: datetime | timedelta | None,
    until: datetime | timedelta | None,
    as_json: bool,
    **options: Any,  # noqa: ANN401  (as declared above)
) -> None:
    """List requests, the newest first.

    --since and --until mean the time that they are sorted by.
    """
    changed = sort is None and (state or options["code"])
    sorted_by = Sort(sort or (Sort.CHANGED if changed else Sort.CREATED))
    limit = options.pop("limit")
    with (
        records.opened(load_client(), reads=True) as (sessions, clock),
        sessions.begin() as session,
    ):
        if options["batch"] is not None:
            known(session, options["batch"])
        now = clock()
        wanted = Wanted(
            state=State(state) if state else None,
            sort=sorted_by,
            since=kinds.ago(since, now),
            until=kinds.ago(until, now),
            limit=limit + 1,
            **options,
        )
        found = listing.listed(session, wanted)
    rows, is_more = found[:limit], len(found) > limit
    if as_json:
        for row in rows:
            click.echo(json.dumps(_as_json(row)))
    elif rows:
        console = tables.console()
        for line in tables.listing(rows, sorted_by, now=now, width=tables.width_of(console)):
            console.print(line)
    if is_more:
        place = printing.plain(kinds.shown(rows[-1].place))
        click.echo(f"There are more: --after {place}", err=True)
    elif not rows:
        click.echo("There is none.", err=True)


def _as_json(row: Listed) -> dict[str, object]:
    return {
        **tables.as_json(row.request),
        "sorted_at": row.at.isoformat(),
        "cursor": kinds.shown(row.place),
    }


@click.command(
    cls=Command,
    examples=(
        "uplynk-export show 6f1c2d3e-6a0b-4a58-9d7e-0d7f4b9a2c11",
        "uplynk-export show article-4711 --json | jq .waits_for",
    ),
)
@click.argument("request_or_export", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def show(request_or_export: str, *, as_json: bool) -> None:
    """Tell the story of a request, by its id or its export's.

    When it came into each state, why, and how long it was in it; and what it waits for now.
    """
    with (
        records.opened(load_client(), reads=True) as (sessions, clock),
        sessions.begin() as session,
    ):
        request = records.found(session, request_or_export)
        if request is None:
            raise click.ClickException(f"there is no request or export {request_or_export}")
        account = request.export.account if request.export else ""
        told = story.told(
            request,
            records.history(session, request),
            paused=admission.who_is_paused(session, account),
            now=clock(),
        )
    if as_json:
        click.echo(json.dumps(story.as_json(told)))
        return
    for line in story.lines(told, width=tables.width_of(tables.console())):
        click.echo(line)
