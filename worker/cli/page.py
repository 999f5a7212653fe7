"""Page: the command that serves the operator's page."""

import logging
import socket
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

    logs.configure(settings.log_format, level=logging.getLevelNamesMapping()[settings.log_level])
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with (
        socket.create_server((host, port), family=family) as listener,
        pages.opened(settings, lambda: wake(settings)) as app,
    ):
        click.echo(url_of(*listener.getsockname()), err=True)
        with suppress(KeyboardInterrupt):
            pages.server(app, host=host, port=port).run(sockets=[listener])


def url_of(host: str, port: int, *_: int) -> str:
    """Return the URL of a socket's address, IPv4 or IPv6."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
