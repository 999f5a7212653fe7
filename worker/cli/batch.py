"""Batch: the commands for lists of many assets."""

import csv
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import click

from models.batch import LONGEST_NAME
from worker import batches, printing, records, summary, tables
from worker.cli import kinds
from worker.cli.client import checked, wake
from worker.cli.command import Command
from worker.cli.named import known
from worker.cli.status import Status
from worker.lists import Line, ListError, lines
from worker.settings import AccountSettings, load_account, load_client
from worker.steps.bulk import Outcome

STDIN = "-"
ANY_ASSET = "0" * 32
LOOK_SECONDS = 2.0
SAY_SECONDS = 30.0

_SAID = {
    Outcome.NEW: "to be exported",
    Outcome.SHARED: "share an export that is under way",
    Outcome.STORED: "are stored already",
    Outcome.KNOWN: "were on record already",
    Outcome.ELSEWHERE: "were on record already, but in no batch or another: not in this manifest",
}


def record_list(
    path: str, *, batch: str | None, arguments: Mapping[str, Any], again: bool, wait: bool
) -> None:
    """Set down the requests of a list, say what became of them, and wait for them if so wanted."""
    settings = load_account()
    name = batch_name(path, batch)
    outcomes, wrong = Counter[Outcome](), 0
    with listed(path, name, defaults(arguments, name)) as given:
        for line, outcome in batches.record(settings, name, given, again=again):
            if outcome is not None and outcome is not Outcome.CLASH:
                outcomes[outcome] += 1
                continue
            wrong += line.repeats is None
            complain(line)
    wake(settings)
    for outcome, said in _SAID.items():
        if outcomes[outcome]:
            click.echo(f"{outcomes[outcome]:>9,} {said}", err=True)
    if wrong:
        click.echo(f"{wrong:>9,} lines are wrong, and were left out", err=True)
    if again and outcomes[Outcome.KNOWN]:
        click.echo("a batch exports once; to export again, name another --batch", err=True)
    click.echo(name)
    is_whole = _all_stored(settings, name) if wait else True
    if wrong or outcomes[Outcome.ELSEWHERE] or not is_whole:
        raise click.exceptions.Exit(Status.FAILED)


@click.command(
    "batches",
    cls=Command,
    examples=(
        "uplynk-export batches",
        "uplynk-export batches spring --json | jq .seconds_left",
    ),
)
@click.argument("names", metavar="[NAME...]", nargs=-1, shell_complete=kinds.batches)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def batches_(names: tuple[str, ...], *, as_json: bool) -> None:
    """Sum up what became of batches: all, or those that are named.

    The time left is told by the rate of the last hour.
    """
    with records.opened(load_client(), reads=True) as (sessions, now), sessions.begin() as session:
        meant = [known(session, name) for name in names] or batches.every(session)
        found = [batches.totals(session, batch, now=now()) for batch in meant]
    if as_json:
        for totals in found:
            click.echo(json.dumps(summary.as_json(totals)))
        return
    console = tables.console()
    width = tables.width_of(console)
    for text in summary.each(found) if names else summary.table(found, width=width):
        console.print(text)


@click.command(
    cls=Command,
    examples=(
        "uplynk-export manifest spring --output spring.csv",
        "uplynk-export manifest spring --format jsonl | jq -r .storage_url",
    ),
)
@click.argument("batch", shell_complete=kinds.batches)
@click.option(
    "--format", "form", type=click.Choice(["csv", "jsonl"]), default="csv", show_default=True
)
@click.option("--output", type=click.Path(path_type=Path), help="A file; else standard output.")
def manifest(batch: str, *, form: str, output: Path | None) -> None:
    """Write what became of each request of BATCH: its file, hash and size, or its error."""
    with records.opened(load_client(), reads=True) as (sessions, _):
        with sessions.begin() as session:
            known(session, batch)
        rows = batches.manifest(sessions, batch)
        if output is None:
            _write(rows, sys.stdout, form)
            return
        part = output.with_name(f"{output.name}.part")
        with part.open("w", encoding="utf-8", newline="") as file:
            _write(rows, file, form)
            file.flush()
            os.fsync(file.fileno())
        part.replace(output)


def batch_name(path: str, given: str | None) -> str:
    """Return the name of the batch: that which was given, or the file's without its suffix.

    Raises:
        click.UsageError: there is none that can be kept.
    """
    if given is None and path == STDIN:
        raise click.UsageError("name the --batch: standard input has no name of its own")
    name = Path(path).stem if given is None else given
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
        raise click.UsageError(
            f"name a --batch of 1 to {LONGEST_NAME} characters that can be printed: {name!r} is"
            " none"
        )
    return name


@contextmanager
def listed(path: str, batch: str, arguments: Mapping[str, Any]) -> Iterator[Iterable[Line]]:
    """Give the lines of a file, or of standard input."""
    try:
        with click.open_file(path, "rb") as source:
            yield lines(source, batch=batch, defaults=arguments)
    except ListError as error:
        said = printing.plain(str(error))
        raise click.ClickException(f"{path} can't be read as a list: {said}") from None


def defaults(arguments: Mapping[str, Any], batch: str) -> dict[str, Any]:
    """Return what is asked for where a line doesn't say: a batch takes turns with other work."""
    said = {"requester": batch, **arguments}
    checked({"asset": ANY_ASSET, **said})
    return said


def complain(line: Line) -> None:
    """Say on standard error what is wrong with a line."""
    if line.repeats is not None:
        click.echo(f"line {line.number}: asks for the same as line {line.repeats}", err=True)
    elif line.entry is None:
        click.echo(printing.plain(f"line {line.number}: {line.wrong}"), err=True)
    else:
        request_id = printing.plain(line.entry.request_id)
        click.echo(
            f"line {line.number}: its id, {request_id}, is that of a request for another"
            " asset or codec, or that was refused or withdrawn before anything was exported for it",
            err=True,
        )


def _all_stored(settings: AccountSettings, name: str) -> bool:
    """Wait until each request has ended; how far it has come is said on standard error."""
    said_at = -SAY_SECONDS
    with records.opened(settings, reads=True) as (sessions, now):
        while True:
            with sessions.begin() as session:
                totals = batches.totals(session, known(session, name), now=now())
            if time.monotonic() - said_at >= SAY_SECONDS or not totals.left:
                said_at = time.monotonic()
                click.echo(summary.line(totals), err=True)
            if not totals.left:
                return totals.stored == totals.requests
            time.sleep(LOOK_SECONDS)


def _write(rows: Iterable[Mapping[str, Any]], file: IO[str], form: str) -> None:
    if form == "jsonl":
        for values in rows:
            file.write(json.dumps(values) + "\n")
        return
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(batches.COLUMNS)
    writer.writerows(batches.cells(values) for values in rows)
