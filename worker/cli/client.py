"""Client: what the command line tells the workers, by the broker, as any CMS would."""

from typing import Any

import click
from celery import Celery
from kombu.exceptions import OperationalError

from worker import rendezvous
from worker.errors import InvalidRequest, SettingsError
from worker.settings import ClientSettings
from worker.steps.wish import check_id, read


def send(broker_url: str, request_id: str, arguments: dict[str, Any]) -> None:
    """Send `exports.create` by name, with nothing that a CMS would not have."""
    with _client(broker_url) as app:
        app.send_task("exports.create", task_id=request_id, queue="exports", kwargs=arguments)


def wake(settings: ClientSettings) -> None:
    """Have a worker look for what is due now; without a broker the next sweep does."""
    try:
        with _client(rendezvous.broker_url(settings)) as app:
            app.send_task("exports.sweep", queue="exports", retry=False)
    except (SettingsError, OperationalError, OSError) as error:
        click.echo(f"the workers could not be woken, and go on by themselves ({error})", err=True)


def reached(settings: ClientSettings) -> str:
    """Return in words where the broker was reached.

    Raises:
        ConnectionError: it was not.
    """
    try:
        with _client(rendezvous.broker_url(settings)) as app:
            connection = app.connection_for_write(connect_timeout=5)
            connection.ensure_connection(max_retries=1, timeout=5)
            return f"reached at {connection.as_uri()}"
    except SettingsError as error:
        raise ConnectionError(str(error)) from None
    except (OperationalError, OSError) as error:
        raise ConnectionError(f"can't be reached: {error}") from None


def checked(arguments: dict[str, Any], request_id: str = "any") -> None:
    """Let a request pass that the workers would take.

    Raises:
        click.UsageError: it makes no sense.
    """
    try:
        check_id(request_id)
        read(arguments)
    except InvalidRequest as error:
        raise click.UsageError(str(error)) from None


def _client(broker_url: str) -> Celery:
    app = Celery(set_as_current=False)
    # by these names, since CELERY_BROKER_URL in the environment beats every other
    app.conf.update(broker_read_url=broker_url, broker_write_url=broker_url)
    return app
