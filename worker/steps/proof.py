"""Proof: a film that is whole is also as long as its asset, and sounds as it was asked for."""

from models import Audio, Export, State, claims
from worker.cloudslicer.allowance import Kind
from worker.errors import ExportError, Permanent
from worker.logs import get_logger
from worker.steps.kit import Kit
from worker.transfer.film import Film

# What FFmpeg calls the profiles of AAC.
PROFILES = {Audio.HE_AAC: frozenset({"HE-AAC", "HE-AACv2"}), Audio.AAC_LC: frozenset({"LC"})}

# Clocks of a thousandth less speed (23.976 frames for 24) are no difference.
DRIFT = 0.001

# For so many films that wait, how long they should be is asked for together.
MOST_AT_ONCE = 100

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
    if told := kit.lengths.take(export.asset, now=kit.now()):
        return told[0]
    if kit.circuit.is_open:
        return None
    kit.allowance.take(Kind.OTHER)
    try:
        _ask_for_many(kit, export)
        if told := kit.lengths.take(export.asset, now=kit.now()):
            return told[0]
        return kit.slicer.get_asset(export.asset).duration_seconds
    except ExportError as error:
        _log.warning("duration not told", code=error.code, message=error.message)
        return None


def _ask_for_many(kit: Kit, export: Export) -> None:
    """Have Uplynk tell how long the assets are whose films wait, if any do, with this one's.

    Where that is refused, for one of them perhaps, or not answered, each is asked for by itself.

    Raises:
        Transient: it did not answer.
    """
    now = kit.now()
    if not kit.lengths.may_be_many(now=now):
        return
    with kit.sessions.begin() as session:
        waiting = claims.assets_due(
            session, State.DOWNLOADING, now=now, limit=MOST_AT_ONCE, account=kit.slicer.owner
        )
    if not waiting:
        return
    try:
        assets = kit.slicer.get_assets(sorted({export.asset, *waiting}))
    except ExportError as error:
        kit.lengths.rest(now=now)
        if isinstance(error, Permanent):
            return
        raise
    kit.lengths.keep({each: asset.duration_seconds for each, asset in assets.items()}, now=now)
