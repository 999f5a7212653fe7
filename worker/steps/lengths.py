"""Lengths: how long assets are, asked for together where many films wait to be compared."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

# What was told holds for so long: films that wait are brought within moments, one by the other.
HOLDS = timedelta(minutes=5)
# So many are remembered at the most.
MOST = 10_000
# Where many were refused together, for one of them perhaps, each is asked for by itself so long.
REST = timedelta(minutes=1)


@dataclass(slots=True)
class Lengths:
    """What Uplynk told this process a moment ago; each is asked for once, and then forgotten."""

    _told: dict[str, tuple[datetime, float | None]] = field(default_factory=dict)
    _rests_until: datetime | None = None

    def take(self, asset: str, *, now: datetime) -> tuple[float | None] | None:
        """Return the seconds that were told, which may be none; None where nothing was told."""
        at, seconds = self._told.pop(asset, (None, None))
        return (seconds,) if at is not None and now - at < HOLDS else None

    def keep(self, seconds: Mapping[str, float | None], *, now: datetime) -> None:
        """Remember what was told just now."""
        if len(self._told) > MOST:
            self._told.clear()
        self._told.update({asset: (now, each) for asset, each in seconds.items()})

    def rest(self, *, now: datetime) -> None:
        """Have each asked for by itself for a while."""
        self._rests_until = now + REST

    def may_be_many(self, *, now: datetime) -> bool:
        """Return whether many may be asked for together."""
        return self._rests_until is None or now >= self._rests_until
