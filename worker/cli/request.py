"""Request: the command that asks for exports."""

import json
import time
from uuid import uuid4

import click

from models import State
from models.state import TERMINAL
from worker import printing, records, rendezvous
from worker.cli import kinds
from worker.cli.batch import record_list
from worker.cli.client import checked, send
from worker.cli.command import Command
from worker.cli.status import Status
from worker.settings import ClientSettings, load_client


@click.command(
    cls=Command,
    examples=(
        "uplynk-export request a29a0bf647454d70bbb9b13d6896a108 --priority 10 --wait",
        "uplynk-export request --from spring.csv",
        "zcat ids.txt.gz | uplynk-export request --from - --batch spring",
    ),
)
@click.argument("asset", required=False)
@click.option(
    "--from",
    "path",
    type=click.Path(allow_dash=True),
    help="A list of assets: CSV, JSON lines or ids, one a line; - for standard input.",
)
@click.option(
    "--batch",
    default=None,
    shell_complete=kinds.batches,
    help="The list's name; else that of its file.",
)
@click.option("--again", is_flag=True, help="Of a list: export what is stored already once more.")
@click.option("--aaclc", is_flag=True, help="AAC-LC audio; without it, HE-AAC.")
@click.option("--priority", type=int, default=0, show_default=True, help="Higher goes first.")
@click.option("--requester", default=None, help="Who asks: they take turns, whoever asks for more.")
@click.option("--metadata", default="{}", help="A JSON object that comes back with the callback.")
@click.option("--id", "request_id", default=None, help="The same id is the same request.")
@click.option("--wait", is_flag=True, help="Wait until it is stored or has failed.")
def request(  # noqa: PLR0913  (click's: an argument for each option)
    asset: str | None,
    *,
    path: str | None,
    batch: str | None,
    again: bool,
    aaclc: bool,
    priority: int,
    requester: str | None,
    metadata: str,
    request_id: str | None,
    wait: bool,
) -> None:
    """Request the export of ASSET, or of a whole list, as a CMS would.

    Prints the request's id, or the name of the list's batch. The same list again adds only what is
    new in it; a line that is wrong is told by its number, and stops none of the others.
    """
    if (asset is None) == (path is None):
        raise click.UsageError("name either an ASSET or a list with --from")
    try:
        values = json.loads(metadata)
    except json.JSONDecodeError as error:
        raise click.BadParameter(f"is no JSON: {error}", param_hint="--metadata") from None
    arguments = {"aaclc": aaclc, "priority": priority, "metadata": values}
    if requester is not None:
        arguments["requester"] = requester
    if path is not None:
        if request_id is not None:
            raise click.UsageError("the --id is one request's: in a list it stands in the line")
        record_list(path, batch=batch, arguments=arguments, again=again, wait=wait)
        return
    if batch is not None or again:
        raise click.UsageError("--batch and --again are for a list: name it with --from")
    arguments["asset"] = asset
    request_id = str(uuid4()) if request_id is None else request_id
    checked(arguments, request_id)
    settings = load_client()
    send(rendezvous.broker_url(settings), request_id, arguments)
    click.echo(request_id)
    if wait and _ended(settings, request_id) is not State.STORED:
        raise click.exceptions.Exit(Status.FAILED)


def _ended(settings: ClientSettings, request_id: str) -> State:
    """Wait until the request is in a terminal state; each change of state is said on stderr."""
    seen = None
    while seen not in TERMINAL:
        with records.reading(settings) as session:
            found = records.found(session, request_id)
            state = found.state if found else None
            error = found.error if found else None
        if state is not seen and state is not None:
            click.echo(printing.plain(f"{state}{': ' + error[1] if error else ''}"), err=True)
            seen = state
        time.sleep(0.5)
    return State(seen)
