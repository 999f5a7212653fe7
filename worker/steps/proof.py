"""Proof: a film that is whole is also as long as its asset, and sounds as it was asked for."""

from models import Audio, Export
from worker.cloudslicer.allowance import Kind
from worker.errors import ExportError, Permanent
from worker.logs import get_logger
from worker.steps.kit import Kit
from worker.transfer.film import Film

# What FFmpeg calls the profiles of AAC.
PROFILES = {Audio.HE_AAC: frozenset({"HE-AAC", "HE-AACv2"}), Audio.AAC_LC: frozenset({"LC"})}

# Clocks of a thousandth less speed (23.976 frames for 24) are no difference.
DRIFT = 0.001

_log = get_logger(__name__)


def check_audio(kit: Kit, export: Export, film: Film) -> None:
    """See that the sound is as it was asked for; where it can't be told, it is taken as it is.

    Raises:
        Permanent: it is not, and that is to fail an export (AUDIO_MISMATCH).
    """
    profiles = PROFILES[export.audio]
    if film.audio_codec is None or film.audio_profile is None or film.audio_profile in profiles:
        return
    said = f"{export.audio} was asked for, and the film's sound is {film.audio_profile}"
    _log.warning("sound is another", message=said)
    if kit.settings.audio_mismatch == "fail":
        raise Permanent("audio_mismatch", f"{said} (AUDIO_MISMATCH)")


def check_duration(kit: Kit, export: Export, film: Film) -> float | None:
    """See that the film is as long as its asset; return how many seconds Uplynk says that is.

    None where Uplynk does not say: no film waits for that.

    Raises:
        Permanent: it is shorter, and that is to fail an export (DURATION_MISMATCH).
    """
    seconds = _asset_seconds(kit, export)
    if seconds is None or film.duration_seconds is None:
        return seconds
    lacking = seconds - film.duration_seconds
    if abs(lacking) <= max(kit.settings.duration_tolerance_seconds, DRIFT * seconds):
        return seconds
    said = f"the film lasts {film.duration_seconds:.1f} s, and its asset {seconds:.1f} s"
    _log.warning("duration is another", message=said)
    if lacking > 0 and kit.settings.duration_mismatch == "fail":
        raise Permanent("duration_mismatch", f"{said} (DURATION_MISMATCH)")
    return seconds


def _asset_seconds(kit: Kit, export: Export) -> float | None:
    if kit.circuit.is_open:
        return None
    kit.allowance.take(Kind.OTHER)
    try:
        return kit.slicer.get_asset(export.asset).duration_seconds
    except ExportError as error:
        _log.warning("duration not told", code=error.code, message=error.message)
        return None
