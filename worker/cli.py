"""The command line: `uplynk-export`. Exit status 0 only when what was asked for was achieved."""

import json
import logging
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import click
from celery import Celery
from kombu.exceptions import OperationalError
from sqlalchemy.exc import SQLAlchemyError

import migrations
from emulator.__main__ import main as emulator_command
from emulator.settings import EmulatorSettings
from models import State
from models.state import TERMINAL
from worker import changes, embedded, logs, records, rendezvous, tables
from worker import demo as demonstration
from worker import doctor as doctors
from worker.errors import InvalidRequest, SettingsError
from worker.outfit import outfit
from worker.runs import Wanted, WorkerDied
from worker.runs import run as run_all
from worker.settings import EMBEDDED, ClientSettings, load, load_client
from worker.steps.wish import check_id, read
from worker.supervisor import broker_of_this_folder, stopped_by_signals, supervise
from worker.workplace import workplace

EMULATED = EmulatorSettings(run_seconds=5.0)


class Group(click.Group):
    """Turns what is the user's to mend into one line on standard error, and status 1."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401  (click's)
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (SettingsError, WorkerDied) as error:
            raise click.ClickException(str(error)) from None
        except OSError as error:
            raise click.ClickException(str(error)) from None
        except OperationalError as error:
            raise click.ClickException(
                f"the broker can't be reached ({error}); check CELERY_BROKER_URL"
            ) from None
        except SQLAlchemyError as error:
            said = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            raise click.ClickException(
                f"the database refused: {said}; `uplynk-export doctor` tells more"
            ) from None


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="uplynk-export")
def main() -> None:
    """Export Uplynk assets as MP4 files."""
    logs.configure("auto", level=logging.WARNING)  # standard output is for what was asked for


@main.command()
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path),
    default=Path("var/demo"),
    show_default=True,
    help="Where the demo works, a new folder or an earlier demo's.",
)
def demo(folder: Path) -> None:
    """Show the main job end to end on this machine, against the emulator."""
    with stopped_by_signals() as told:
        if not demonstration.demo(folder, send=_send, console=tables.console(), told=told):
            raise click.ClickException("the demo did not come out as it should; see the table")


@main.command()
@click.argument("assets", metavar="ASSET...", nargs=-1, required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Where the files go.")
@click.option("--aaclc", is_flag=True, help="AAC-LC audio; without it, HE-AAC.")
@click.option("--emulator", is_flag=True, help="Against the emulator instead of Uplynk.")
def run(assets: tuple[str, ...], out: Path, *, aaclc: bool, emulator: bool) -> None:
    """Export ASSETs into a folder, with everything embedded on this machine.

    Leaves only the files. Interrupted, it leaves its state in OUT/.uplynk-export, and the same
    command goes on where it was: nothing is exported, and paid for, twice.
    """
    console = tables.console()
    wanted = [Wanted(asset, aaclc=aaclc) for asset in dict.fromkeys(assets)]
    for each in wanted:
        _checked({"asset": each.asset, "aaclc": each.aaclc})
    environment = {"STORAGE_URL": str(out), "STORAGE_KEY": "{asset}-{export_id}.mp4"}
    environment |= {"POLL_MIN_SECONDS": "1", "CLAIM_SECONDS": "8"} if emulator else {}
    emulated = EMULATED if emulator else None
    try:
        with (
            stopped_by_signals() as told,
            workplace(out, emulated=emulator) as place,
            embedded.installation(place.folder, environment, emulator=emulated) as installed,
        ):
            requests = run_all(installed, wanted, send=_send, console=console, told=told)
            place.tell([request.id for request in requests])
    except KeyboardInterrupt:
        if not emulator:
            click.echo(f"Interrupted. The same command goes on from here ({out}).")
        sys.exit(130)
    for line in tables.outcomes(requests):
        console.print(line)
    if any(request.state is not State.STORED for request in requests):
        raise click.exceptions.Exit(1)


@main.command()
@click.option("--queues", default="exports,downloads", show_default=True)
@click.option(
    "--pool",
    type=click.Choice(["threads", "prefork", "solo"]),
    default="threads",
    show_default=True,
)
@click.option("--concurrency", type=click.IntRange(min=1), default=8, show_default=True)
@click.option("--loglevel", default="INFO", show_default=True)
def worker(queues: str, pool: str, concurrency: int, loglevel: str) -> None:
    """Run a worker, and start it again if it dies.

    With the embedded broker it brings that broker, and migrates a SQLite database by itself.
    """
    settings = load()
    arguments = embedded.command(
        queues=queues, pool=pool, concurrency=concurrency, level=loglevel.upper()
    )
    with ExitStack() as stack:
        environment = {}
        if settings.celery_broker_url == EMBEDDED:
            environment["CELERY_BROKER_URL"] = stack.enter_context(broker_of_this_folder())
        if settings.database_url.startswith("sqlite"):
            migrations.upgrade(settings.database_url)
        raise click.exceptions.Exit(supervise(arguments, environment))


@main.command()
def migrate() -> None:
    """Bring the database's tables up to this release."""
    url = load_client().database_url
    before = migrations.current(url)
    migrations.upgrade(url)
    click.echo(f"the database was at revision {before or 'none'}, and is at {migrations.head()}")


@main.command()
@click.argument("asset")
@click.option("--aaclc", is_flag=True, help="AAC-LC audio; without it, HE-AAC.")
@click.option("--priority", type=int, default=0, show_default=True, help="Higher goes first.")
@click.option("--metadata", default="{}", help="A JSON object that comes back with the callback.")
@click.option("--id", "request_id", default=None, help="The same id is the same request.")
@click.option("--wait", is_flag=True, help="Wait until it is stored or has failed.")
def request(
    asset: str, *, aaclc: bool, priority: int, metadata: str, request_id: str | None, wait: bool
) -> None:
    """Request the export of ASSET, as a CMS would; prints the request's id."""
    try:
        values = json.loads(metadata)
    except json.JSONDecodeError as error:
        raise click.BadParameter(f"is no JSON: {error}", param_hint="--metadata") from None
    arguments = {"asset": asset, "aaclc": aaclc, "priority": priority, "metadata": values}
    request_id = str(uuid4()) if request_id is None else request_id
    _checked(arguments, request_id)
    settings = load_client()
    _send(rendezvous.broker_url(settings), request_id, arguments)
    click.echo(request_id)
    if wait and _ended(settings, request_id) is not State.STORED:
        raise click.exceptions.Exit(1)


@main.command("list")
@click.option("--state", type=click.Choice([str(state) for state in State]))
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_(state: str | None, limit: int, *, as_json: bool) -> None:
    """List requests, the newest first."""
    with records.reading(load_client()) as session:
        wanted = State(state) if state else None
        requests = records.listed(session, state=wanted, limit=limit)
    if as_json:
        for each in requests:
            click.echo(json.dumps(tables.as_json(each)))
        return
    console = tables.console()
    for line in tables.listing(requests):
        console.print(line)


@main.command()
@click.argument("request_or_export", metavar="ID")
def show(request_or_export: str) -> None:
    """Tell the story of a request, by its id or its export's."""
    with records.reading(load_client()) as session:
        request = records.found(session, request_or_export)
        if request is None:
            raise click.ClickException(f"there is no request or export {request_or_export}")
        for line in tables.story(request, records.history(session, request)):
            click.echo(line)


@main.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
def cancel(ids: tuple[str, ...]) -> None:
    """Withdraw requests, each by its id or its export's.

    An export that nobody else wants is stopped, at Uplynk as well. The exit status is 0 only if all
    of them are cancelled.
    """
    settings = load_client()
    _tell(settings, changes.cancel(settings, ids))


@main.command()
@click.argument("ids", metavar="[ID...]", nargs=-1)
@click.option("--code", help="All requests that failed with this code; see docs/errors.md.")
def retry(ids: tuple[str, ...], *, code: str | None) -> None:
    """Take up again what failed or was cancelled, by the ids of requests or exports, or by a code.

    A file that Uplynk still has is fetched again; only what can't be had in another way is
    exported, and paid for, anew.
    """
    if bool(ids) == bool(code):
        raise click.UsageError("name either IDs or a --code")
    settings = load_client()
    if code:
        click.echo(f"{changes.retry_failed(settings, code)} taken up again")
        _wake(settings)
        return
    _tell(settings, changes.retry(settings, ids))


@main.command()
def doctor() -> None:
    """Examine settings, database, broker, storage and credentials; say what to do."""
    settings = load()
    ill = False
    for finding in doctors.examine(settings, outfit(settings), lambda: _broker(settings)):
        ill |= not finding.well
        mark = click.style("ok  ", fg="green") if finding.well else click.style("FAIL", fg="red")
        click.echo(f"{mark}  {finding.what:<9} {finding.says}")
    if ill:
        raise click.exceptions.Exit(1)


main.add_command(emulator_command, "emulator")


def _tell(settings: ClientSettings, made: Iterable[changes.Change]) -> None:
    """Say what became of each change, and have the workers go on from there."""
    told = []
    for change in made:
        told.append(change)
        says = f"  {change.says}" if change.says else ""
        click.echo(f"{change.request_id}  {change.state or 'unknown'}{says}", err=not change.well)
    _wake(settings)
    if not all(change.well for change in told):
        raise click.exceptions.Exit(1)


def _wake(settings: ClientSettings) -> None:
    """Have a worker look for what is due now; without a broker the next sweep does."""
    try:
        with _client(rendezvous.broker_url(settings)) as app:
            app.send_task("exports.sweep", queue="exports", retry=False)
    except (SettingsError, OperationalError, OSError) as error:
        click.echo(f"the workers could not be woken, and go on by themselves ({error})", err=True)


def _send(broker_url: str, request_id: str, arguments: dict[str, Any]) -> None:
    """Send `exports.create` by name, with nothing that a CMS would not have."""
    with _client(broker_url) as app:
        app.send_task("exports.create", task_id=request_id, queue="exports", kwargs=arguments)


def _client(broker_url: str) -> Celery:
    app = Celery(set_as_current=False)
    # by these names, since CELERY_BROKER_URL in the environment beats every other
    app.conf.update(broker_read_url=broker_url, broker_write_url=broker_url)
    return app


def _checked(arguments: dict[str, Any], request_id: str = "any") -> None:
    try:
        check_id(request_id)
        read(arguments)
    except InvalidRequest as error:
        raise click.UsageError(str(error)) from None


def _broker(settings: ClientSettings) -> str:
    try:
        with _client(rendezvous.broker_url(settings)) as app:
            connection = app.connection_for_write(connect_timeout=5)
            connection.ensure_connection(max_retries=1, timeout=5)
            return f"reached at {connection.as_uri()}"
    except SettingsError as error:
        raise ConnectionError(str(error)) from None
    except (OperationalError, OSError) as error:
        raise ConnectionError(f"can't be reached: {error}") from None


def _ended(settings: ClientSettings, request_id: str) -> State:
    """Wait until the request is in a terminal state; each change of state is said on stderr."""
    seen = None
    while seen not in TERMINAL:
        with records.reading(settings) as session:
            found = records.found(session, request_id)
            state = found.state if found else None
            error = found.error if found else None
        if state is not seen and state is not None:
            click.echo(f"{state}{': ' + error[1] if error else ''}", err=True)
            seen = state
        time.sleep(0.5)
    return State(seen)


if __name__ == "__main__":
    main()
