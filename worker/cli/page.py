"""Page: the command that serves the operator's page."""

import logging
from contextlib import suppress
from importlib.util import find_spec

import click

from worker import logs
from worker.cli.client import wake
from worker.cli.command import Command
from worker.settings import load_console

PORT = 5556


@click.command(
    cls=Command,
    examples=(
        "uplynk-export console",
        "CONSOLE_USERS=ann:correct-horse uplynk-export console --port 8080",
    ),
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True)
def console(host: str, port: int) -> None:
    """Serve the operator's page, until interrupted.

    It needs CONSOLE_USERS, the names and passwords of who may log in. Over a network it belongs
    behind a proxy that speaks HTTPS.
    """
    settings = load_console()
    if find_spec("sqladmin") is None:
        raise click.ClickException("it needs the extra `console`: uplynk-export[console]")
    from worker.console import app as pages  # noqa: PLC0415  (what the extra brings)

    logs.configure("auto", level=logging.INFO)
    with pages.opened(settings, lambda: wake(settings)) as app:
        click.echo(f"http://{host}:{port}", err=True)
        with suppress(KeyboardInterrupt):
            pages.server(app, host=host, port=port).run()
