"""Operate: the commands of who runs the workers."""

import json
from contextlib import ExitStack
from dataclasses import asdict

import click

import migrations
from worker import audit, embedded, logs, printing
from worker import doctor as doctors
from worker.cli.client import reached
from worker.cli.command import Command
from worker.cli.status import Status
from worker.outfit import outfit
from worker.settings import EMBEDDED, load, load_client
from worker.supervisor import broker_of_this_folder, supervise


@click.command(
    cls=Command,
    examples=(
        "uplynk-export worker",
        "uplynk-export worker --queues downloads --pool prefork --concurrency 4",
    ),
)
@click.option("--queues", default="exports,downloads", show_default=True)
@click.option(
    "--pool",
    type=click.Choice(["threads", "prefork", "solo"]),
    default="threads",
    show_default=True,
)
@click.option("--concurrency", type=click.IntRange(min=1), default=8, show_default=True)
@click.option("--loglevel", help="The least urgent lines of the log.  [default: LOG_LEVEL]")
def worker(queues: str, pool: str, concurrency: int, loglevel: str | None) -> None:
    """Run a worker, and start it again if it dies.

    With the embedded broker it brings that broker, and migrates a SQLite database by itself.
    """
    settings = load()
    logs.configure(settings.log_format)
    logs.take_over()
    arguments = embedded.command(
        queues=queues, pool=pool, concurrency=concurrency, level=loglevel and loglevel.upper()
    )
    with ExitStack() as stack:
        environment = {}
        if settings.celery_broker_url == EMBEDDED:
            environment["CELERY_BROKER_URL"] = stack.enter_context(broker_of_this_folder())
        if settings.database_url.startswith("sqlite"):
            migrations.upgrade(settings.database_url)
        raise click.exceptions.Exit(supervise(arguments, environment))


@click.command(
    cls=Command,
    examples=(
        "uplynk-export migrate",
        "DATABASE_URL=sqlite:///var/x.db uplynk-export migrate",
    ),
)
def migrate() -> None:
    """Bring the database's tables up to this release."""
    url = load_client().database_url
    before = migrations.current(url)
    migrations.upgrade(url)
    click.echo(f"the database was at revision {before or 'none'}, and is at {migrations.head()}")


@click.command(
    cls=Command,
    examples=(
        "uplynk-export doctor",
        "uplynk-export doctor --json | jq -r 'select(.well | not).says'",
    ),
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def doctor(*, as_json: bool) -> None:
    """Examine settings, database, broker, storage and credentials; say what to do."""
    settings = load()
    ill = False
    for finding in doctors.examine(settings, outfit(settings), lambda: reached(settings)):
        ill |= not finding.well
        if as_json:
            click.echo(json.dumps(asdict(finding)))
            continue
        mark = click.style("ok  ", fg="green") if finding.well else click.style("FAIL", fg="red")
        click.echo(f"{mark}  {finding.what:<9} {printing.plain(finding.says)}")
    if ill:
        raise click.exceptions.Exit(Status.FAILED)


@click.command(
    cls=Command,
    examples=(
        "uplynk-export verify",
        "uplynk-export verify 6f1c2d3e-6a0b-4a58-9d7e-0d7f4b9a2c11",
    ),
)
@click.argument("ids", metavar="[ID...]", nargs=-1)
def verify(ids: tuple[str, ...]) -> None:
    """Read stored films again, and compare them with the record.

    Those of the requests or exports that are named, or all. The exit status is 0 only if each is
    there, byte by byte.
    """
    count = ill = 0
    try:
        for record in audit.stored(load_client(), ids):
            count += 1
            difference = audit.differs(record)
            ill += bool(difference)
            mark = click.style("FAIL", fg="red") if difference else click.style("ok  ", fg="green")
            says = f"  {difference}" if difference else ""
            click.echo(f"{mark}  {record.export_id}  {printing.plain(record.url + says)}")
    except LookupError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{count} read, {ill} not as they were stored")
    if ill:
        raise click.exceptions.Exit(Status.FAILED)
