"""Change: the commands that withdraw what was asked for, and take it up again."""

from collections.abc import Collection, Iterable, Sequence

import click

from models import State
from models.state import UNDER_WAY
from worker import batches, changes, printing, records
from worker.cli import kinds
from worker.cli.client import wake
from worker.cli.command import Command
from worker.cli.named import known
from worker.cli.status import Status
from worker.settings import ClientSettings, load_client


@click.command(
    cls=Command,
    examples=(
        "uplynk-export cancel 6f1c2d3e-6a0b-4a58-9d7e-0d7f4b9a2c11",
        "uplynk-export cancel --batch spring",
    ),
)
@click.argument("ids", metavar="[ID...]", nargs=-1)
@click.option(
    "--batch", shell_complete=kinds.batches, help="All requests of a list that have not ended yet."
)
def cancel(ids: tuple[str, ...], *, batch: str | None) -> None:
    """Withdraw requests, each by its id or its export's, or those of a whole batch.

    An export that nobody else wants is stopped, at Uplynk as well. The exit status is 0 only if all
    of them are cancelled.
    """
    if bool(ids) == bool(batch):
        raise click.UsageError("name either IDs or a --batch")
    settings = load_client()
    names = ids or _of_batch(settings, str(batch), UNDER_WAY)
    _tell(settings, changes.cancel(settings, names), is_brief=batch is not None)


@click.command(
    cls=Command,
    examples=(
        "uplynk-export retry 6f1c2d3e-6a0b-4a58-9d7e-0d7f4b9a2c11",
        "uplynk-export retry --code storage_unavailable",
        "uplynk-export retry --batch spring --cancelled",
    ),
)
@click.argument("ids", metavar="[ID...]", nargs=-1)
@click.option(
    "--code",
    type=kinds.code,
    shell_complete=kinds.codes,
    help="All requests that failed with this code; see docs/errors.md.",
)
@click.option("--batch", shell_complete=kinds.batches, help="All requests of a list that failed.")
@click.option("--cancelled", is_flag=True, help="Of the batch: those that were cancelled instead.")
def retry(ids: tuple[str, ...], *, code: str | None, batch: str | None, cancelled: bool) -> None:
    """Take up again what failed or was cancelled, by ids, by a code or by a batch.

    The ids are of requests or of exports. A file that Uplynk still has is fetched again; only what
    can't be had in another way is exported, and paid for, anew.
    """
    if sum(map(bool, (ids, code, batch))) != 1:
        raise click.UsageError("name either IDs or a --code or a --batch")
    if cancelled and not batch:
        raise click.UsageError("--cancelled is for a --batch")
    settings = load_client()
    if code:
        count = changes.retry_failed(settings, code)
        click.echo(f"{count:,} taken up again")
        if not count:
            raise click.ClickException(f"no request has failed with {code}")
        wake(settings)
        return
    names = ids or _of_batch(settings, str(batch), {State.CANCELLED if cancelled else State.FAILED})
    _tell(settings, changes.retry(settings, names), is_brief=batch is not None)


def _of_batch(settings: ClientSettings, batch: str, states: Collection[State]) -> Sequence[str]:
    with records.reading(settings) as session:
        return batches.ids(session, known(session, batch).name, states)


def _tell(settings: ClientSettings, made: Iterable[changes.Change], *, is_brief: bool) -> None:
    """Say what became of each change, and have the workers go on from there.

    Of many only what went wrong is said, and how many did not.
    """
    well = ill = 0
    for change in made:
        well, ill = well + change.well, ill + (not change.well)
        if change.well and is_brief:
            continue
        says = f"  {change.says}" if change.says else ""
        line = printing.plain(f"{change.request_id}  {change.state or 'unknown'}{says}")
        click.echo(line, err=not change.well)
    if is_brief:
        click.echo(f"{well:,} of {well + ill:,} changed")
    if well:
        wake(settings)
    if ill:
        raise click.exceptions.Exit(Status.FAILED)
