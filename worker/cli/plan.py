"""Plan: the command that says what a list would come to."""

import json
from collections.abc import Iterable
from datetime import timedelta

import click
from rich.filesize import decimal

from models import Batch
from worker.batches import in_batch
from worker.cli import kinds
from worker.cli.batch import batch_name, complain, defaults, listed
from worker.cli.command import Command
from worker.cli.status import Status
from worker.outfit import outfit
from worker.plans import Plan, planned
from worker.printing import span
from worker.settings import load


@click.command(
    cls=Command,
    examples=(
        "uplynk-export plan spring.csv",
        "uplynk-export plan spring.csv --json | jq .to_export",
    ),
)
@click.argument("path", metavar="FILE", type=click.Path(allow_dash=True))
@click.option(
    "--batch",
    default=None,
    shell_complete=kinds.batches,
    help="As `request --from` will be told; see there.",
)
@click.option("--aaclc", is_flag=True, help="AAC-LC audio where a line doesn't say.")
@click.option("--again", is_flag=True, help="Export what is stored already once more.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def plan(path: str, *, batch: str | None, aaclc: bool, again: bool, as_json: bool) -> None:
    """Say what `request --from FILE` would do, and ask Uplynk about the assets.

    Nothing is set down, and nothing is paid for. The exit status is 0 only if each line can be
    exported, or needs not.
    """
    settings = load()
    name = batch_name(path, batch)
    kit = outfit(settings, broker_url=settings.celery_broker_url)
    with kit.sessions.begin() as session:
        there = session.get(Batch, name)
    new = Batch(name=name, account=settings.uplynk_user_id, created_at=kit.now())
    where = in_batch(settings, there or new, again=again)
    with listed(path, name, defaults({"aaclc": aaclc}, name)) as given:
        found = Plan()
        for line in planned(kit, where, given, found):
            complain(line)
    if as_json:
        click.echo(json.dumps(found.as_json()))
    else:
        for text in told(found, most=settings.max_exporting):
            click.echo(text)
    if not found.is_whole:
        raise click.exceptions.Exit(Status.FAILED)


def told(found: Plan, *, most: int) -> Iterable[str]:
    """Return the lines that tell a plan; `most` is MAX_EXPORTING."""
    counts = {
        "lines": found.lines,
        "are wrong": found.wrong,
        "ask for the same as another line": found.repeated,
        "have an id of another request": found.clashing,
        "are on record already": found.known,
        "share an export that is under way": found.shared,
        "are stored already": found.stored,
        "are not to be found at Uplynk": found.missing,
        "are not ready to be exported": found.unready,
        "would be exported, and paid for": found.to_export,
        "of these are under DRM": found.protected,
    }
    for what, number in counts.items():
        if number or what == "would be exported, and paid for":
            yield f"{number:>9,} {what}"
    if not found.to_export:
        return
    lasts = f"{span(timedelta(seconds=found.seconds))} of film"
    if found.untold:
        lasts += f", and {found.untold:,} films whose length Uplynk doesn't tell"
    yield f"{'film':>9} {lasts}"
    size, takes, pace = found.size_bytes, found.least_time(most), found.time_at_the_pace
    by_record = f"by the last {found.experience.films:,} that were stored"
    yield f"{'size':>9} " + (f"about {decimal(size)}, {by_record}" if size else "can't be told yet")
    yield f"{'time':>9} " + (
        f"at least {span(takes)} with MAX_EXPORTING={most}, {by_record}"
        if takes
        else "can't be told yet: nothing was stored so far"
    )
    if pace is not None:
        yield f"{'':>9} {span(pace)} at the rate of the last hour"
