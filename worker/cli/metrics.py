"""Metrics: the command that serves what SQL knows, for Prometheus."""

import logging
import time

import click
from sqlalchemy import make_url

from worker import logs
from worker.cli.command import Command
from worker.metrics.endpoint import serve
from worker.metrics.fleet import Fleet
from worker.metrics.look import Looker
from worker.records import opened
from worker.settings import load_fleet
from worker.supervisor import stopped_by_signals

PORT = 9530

LOOK_SECONDS = 0.2
# What takes longer is broken off: Prometheus waits in vain, and the database has better to do.
CONNECT_SECONDS = 3
STATEMENT_SECONDS = 4


@click.command(
    cls=Command,
    examples=("uplynk-export metrics", "uplynk-export metrics --host 0.0.0.0 --port 9530"),
)
@click.option("--host", help="The address to listen on; without it, METRICS_HOST.")
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True)
def metrics(host: str | None, port: int) -> None:
    """Serve what SQL knows of all workers' exports, for Prometheus, until interrupted.

    What only a worker's processes know each worker serves itself, at METRICS_PORT.
    """
    settings = load_fleet()
    logs.configure(settings.log_format, level=logging.getLevelNamesMapping()[settings.log_level])
    settings = settings.model_copy(update={"database_url": impatient(settings.database_url)})
    with opened(settings, reads=True) as (sessions, now), stopped_by_signals() as told:
        look = Looker(sessions, settings, now=now)
        endpoint = serve(Fleet(look), host=host or settings.metrics_host, port=port)
        click.echo(f"metrics at {endpoint.url}")
        try:
            while not told():
                time.sleep(LOOK_SECONDS)
        except KeyboardInterrupt:
            pass  # it was told to end
        finally:
            endpoint.close()


def impatient(url: str) -> str:
    """Return the database's URL with shorter times to connect and to answer than a step's."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return url
    said = parsed.query.get("options", ())
    options = (said,) if isinstance(said, str) else said
    ours = f"-c statement_timeout={STATEMENT_SECONDS}s"
    query = {"connect_timeout": f"{CONNECT_SECONDS}", **parsed.query}
    query["options"] = " ".join((*options, ours))
    return parsed.set(query=query).render_as_string(hide_password=False)
