"""Change: the commands that withdraw what was asked for, and take it up again."""

from collections.abc import Iterable

import click

from worker import changes
from worker.cli.client import wake
from worker.settings import ClientSettings, load_client


@click.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
def cancel(ids: tuple[str, ...]) -> None:
    """Withdraw requests, each by its id or its export's.

    An export that nobody else wants is stopped, at Uplynk as well. The exit status is 0 only if all
    of them are cancelled.
    """
    settings = load_client()
    _tell(settings, changes.cancel(settings, ids))


@click.command()
@click.argument("ids", metavar="[ID...]", nargs=-1)
@click.option("--code", help="All requests that failed with this code; see docs/errors.md.")
def retry(ids: tuple[str, ...], *, code: str | None) -> None:
    """Take up again what failed or was cancelled, by ids or by a code.

    The ids are of requests or of exports. A file that Uplynk still has is fetched again; only what
    can't be had in another way is exported, and paid for, anew.
    """
    if bool(ids) == bool(code):
        raise click.UsageError("name either IDs or a --code")
    settings = load_client()
    if code:
        click.echo(f"{changes.retry_failed(settings, code)} taken up again")
        wake(settings)
        return
    _tell(settings, changes.retry(settings, ids))


def _tell(settings: ClientSettings, made: Iterable[changes.Change]) -> None:
    """Say what became of each change, and have the workers go on from there."""
    told = []
    for change in made:
        told.append(change)
        says = f"  {change.says}" if change.says else ""
        click.echo(f"{change.request_id}  {change.state or 'unknown'}{says}", err=not change.well)
    wake(settings)
    if not all(change.well for change in told):
        raise click.exceptions.Exit(1)
