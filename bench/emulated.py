"""Emulated: the emulator, with jobs that are there from the start.

`python -m bench.emulated --port 8901 --jobs 100000` serves them. Job n is of asset n, and bears the
same id: 32 hex digits. So nobody has to ask for 100,000 exports before they can be waited for.
"""

from pathlib import Path

import click
from aiohttp import web

from emulator.jobs import Job, Plan
from emulator.server import build_app
from emulator.settings import EmulatorSettings
from emulator.world import WORLD, World


def numbered(n: int) -> str:
    """Return the id of asset n, and of its job."""
    return f"{n:032x}"


def add_jobs(world: World, number: int, *, aaclc: bool) -> None:
    """Make so many jobs, as if they had been asked for one after the other just now."""
    settings, now = world.settings, world.clock.now()
    plan = Plan(
        wait_seconds=settings.wait_seconds,
        run_seconds=settings.run_seconds,
        retry_wait_seconds=settings.retry_wait_seconds,
        max_attempts=settings.max_attempts,
    )
    for n in range(number):
        world.jobs.add(Job(numbered(n), now, plan, id=numbered(n), aaclc=aaclc))


@click.command()
@click.option("--port", type=int, required=True)
@click.option("--jobs", default=0, show_default=True, help="How many are there from the start.")
@click.option("--aaclc", is_flag=True, help="Those are to have AAC-LC.")
@click.option("--run-seconds", default=10.0, show_default=True, help="How long a job takes.")
@click.option("--media-seconds", default=4.0, show_default=True)
@click.option("--media-size-bytes", type=int, help="Pad each file to this size.")
@click.option("--media-dir", type=click.Path(path_type=Path), help="Keep the made files here.")
def main(
    *,
    port: int,
    jobs: int,
    aaclc: bool,
    run_seconds: float,
    media_seconds: float,
    media_size_bytes: int | None,
    media_dir: Path | None,
) -> None:
    """Serve until interrupted."""
    app = build_app(
        EmulatorSettings(
            run_seconds=run_seconds,
            media_seconds=media_seconds,
            media_size_bytes=media_size_bytes,
            media_dir=media_dir,
        )
    )
    add_jobs(app[WORLD], jobs, aaclc=aaclc)
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None)


if __name__ == "__main__":
    main()
