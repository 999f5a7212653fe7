"""Place: under which keys an export's files are stored."""

from pathlib import PurePosixPath

from models import Export
from worker.settings import Settings


def film(settings: Settings, export: Export) -> str:
    """Return the key of the export's film, as STORAGE_KEY has it."""
    return settings.storage_key.format(
        account=export.account, asset=export.asset, audio=export.audio, export_id=export.id
    )


def beside(settings: Settings, export: Export, suffix: str) -> str:
    """Return the key of what is stored beside it, of the same name but for the suffix."""
    return str(PurePosixPath(film(settings, export)).with_suffix(suffix))
