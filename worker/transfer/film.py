"""Film: what is in an MP4."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Film:
    """What an MP4 holds, as its own headers say."""

    duration_seconds: float
    video_codec: str
    audio_codec: str | None
    audio_profile: str | None
    width: int
    height: int
