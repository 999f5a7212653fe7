"""Doctor: is everything there that the worker needs, and if not, what is to be done?"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from tempfile import NamedTemporaryFile

from rich.filesize import decimal
from sqlalchemy.exc import SQLAlchemyError

import migrations
from worker.errors import ExportError
from worker.settings import Settings
from worker.steps import Kit

# No clock that is kept right is off by more.
FAR_OFF = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one examination found: all is well, or what is wrong and what to do."""

    what: str
    well: bool
    says: str


def examine(settings: Settings, kit: Kit, broker: Callable[[], str]) -> Iterator[Finding]:
    """Examine one thing after the other; a finding comes as soon as it is made.

    Args:
        settings: what to examine.
        kit: made of these settings.
        broker: connects to the broker, and says what it found; it raises ConnectionError.
    """
    yield Finding("settings", well=True, says="complete")
    looks: tuple[tuple[str, Callable[[], str]], ...] = (
        ("database", lambda: _database(settings)),
        ("broker", broker),
        ("storage", lambda: _storage(settings, kit)),
        ("scratch", lambda: _scratch(settings)),
        ("uplynk", lambda: _uplynk(kit)),
        ("clock", lambda: _clock(kit)),
        ("webhooks", lambda: _webhooks(settings)),
    )
    for what, look in looks:
        try:
            yield Finding(what, well=True, says=look())
        except _Ill as ill:
            yield Finding(what, well=False, says=str(ill))
        except ExportError as error:
            yield Finding(what, well=False, says=error.message)
        except ConnectionError as error:
            yield Finding(what, well=False, says=f"{error}; check CELERY_BROKER_URL")


class _Ill(Exception):  # noqa: N818  (a finding, not a failure)
    pass


def _database(settings: Settings) -> str:
    try:
        at, head = migrations.current(settings.database_url), migrations.head()
    except SQLAlchemyError as error:
        said = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise _Ill(f"can't be reached: {said}; check DATABASE_URL") from None
    if at != head:
        was = "has no tables" if at is None else f"is at revision {at}, not {head}"
        raise _Ill(f"{was}; run `uplynk-export migrate`")
    return f"reached, at revision {at}"


def _storage(settings: Settings, kit: Kit) -> str:
    kit.storage.probe()
    return f"an object was written to {settings.storage_url} and deleted again"


def _scratch(settings: Settings) -> str:
    folder = settings.scratch_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=folder):
            return f"{folder} is writable, {decimal(shutil.disk_usage(folder).free)} free"
    except OSError as error:
        raise _Ill(f"{folder}: {error.strerror}; set SCRATCH_DIR to a writable folder") from None


def _uplynk(kit: Kit) -> str:
    jobs = kit.slicer.list_jobs(limit=1)
    return f"the credentials are good ({'has' if jobs else 'no'} recent jobs)"


def _clock(kit: Kit) -> str:
    """Say how far Uplynk's clock is from ours; that it is far off is no failure, see Skew."""
    skew = kit.slicer.skew
    if skew is None:
        return "can't be compared: Uplynk told no time"
    if abs(skew) <= FAR_OFF:
        return "agrees with Uplynk's"
    way = "behind" if skew > timedelta() else "ahead of"
    return (
        f"is {abs(skew).total_seconds():.0f} s {way} Uplynk's; calls are corrected for that,"
        " and other programs are not: let NTP set it"
    )


def _webhooks(settings: Settings) -> str:
    hosts, secrets = settings.webhook_hosts, settings.webhook_secrets
    if not hosts and not secrets:
        return "none are sent: WEBHOOK_HOSTS and WEBHOOK_SECRET are not set"
    if not hosts:
        raise _Ill("are signed, and may go nowhere; list the hosts of your CMS in WEBHOOK_HOSTS")
    if not secrets:
        raise _Ill("can't be signed; set WEBHOOK_SECRET (docs/settings.md)")
    twice = ", by two secrets" if len(secrets) > 1 else ""
    return f"may go to {', '.join(hosts)}, and are signed{twice}"
