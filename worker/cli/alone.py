"""Alone: the commands that bring all that they need, and leave only files."""

from pathlib import Path

import click

from emulator.settings import EmulatorSettings
from models import State
from worker import demo as demonstration
from worker import embedded, tables
from worker.cli.client import checked, send
from worker.cli.command import Command
from worker.cli.status import Status
from worker.runs import Wanted
from worker.runs import run as run_all
from worker.supervisor import stopped_by_signals
from worker.workplace import workplace

EMULATED = EmulatorSettings(run_seconds=5.0)


@click.command(
    cls=Command,
    examples=(
        "uplynk-export demo",
        "uplynk-export demo --dir /tmp/demo",
    ),
)
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
        if not demonstration.demo(folder, send=send, console=tables.console(), told=told):
            raise click.ClickException("the demo did not come out as it should; see the table")


@click.command(
    cls=Command,
    examples=(
        "uplynk-export run a29a0bf647454d70bbb9b13d6896a108 --out films",
        "uplynk-export run a29a0bf647454d70bbb9b13d6896a108 --out films --emulator",
    ),
)
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
        checked({"asset": each.asset, "aaclc": each.aaclc})
    environment = {"STORAGE_URL": str(out), "STORAGE_KEY": "{asset}-{export_id}.mp4"}
    environment |= {"POLL_MIN_SECONDS": "1", "CLAIM_SECONDS": "8"} if emulator else {}
    emulated = EMULATED if emulator else None
    try:
        with (
            stopped_by_signals() as told,
            workplace(out, emulated=emulator) as place,
            embedded.installation(place.folder, environment, emulator=emulated) as installed,
        ):
            requests = run_all(installed, wanted, send=send, console=console, told=told)
            place.tell([request.id for request in requests])
    except KeyboardInterrupt:
        if not emulator:
            click.echo(f"Interrupted. The same command goes on from here ({out}).")
        raise click.exceptions.Exit(Status.INTERRUPTED) from None
    for line in tables.outcomes(requests):
        console.print(line)
    if any(request.state is not State.STORED for request in requests):
        raise click.exceptions.Exit(Status.FAILED)
