"""Rendezvous: where the embedded broker of this folder can be found by other processes."""

from pathlib import Path

from worker.errors import SettingsError
from worker.settings import EMBEDDED, ClientSettings

ADDRESS_FILE = Path("var/broker.url")


def broker_url(settings: ClientSettings) -> str:
    """Return the broker's URL: the setting, or the address that an embedded broker left here.

    Raises:
        SettingsError: the broker is the embedded one, and none is running in this folder.
    """
    if settings.celery_broker_url != EMBEDDED:
        return settings.celery_broker_url
    try:
        return ADDRESS_FILE.read_text().strip()
    except FileNotFoundError:
        raise SettingsError(
            "No embedded broker is running in this folder. Start `uplynk-export worker`, which"
            " brings one, or set CELERY_BROKER_URL, say to redis://localhost:6379/0"
        ) from None


def leave_address(url: str) -> None:
    """Tell other processes in this folder where the embedded broker is."""
    ADDRESS_FILE.parent.mkdir(parents=True, exist_ok=True)
    ADDRESS_FILE.write_text(url + "\n")


def remove_address() -> None:
    """Tell nobody any more."""
    ADDRESS_FILE.unlink(missing_ok=True)
