"""Asset: what Uplynk sent about one of its assets, read with distrust."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """An asset as Uplynk described it; unknown members are left out.

    Attributes:
        id: Uplynk's id of the asset.
        duration_seconds: how long it lasts, if that was given.
    """

    id: str
    duration_seconds: float | None = None

    @classmethod
    def find(cls, envelope: Mapping[str, Any], asset_id: str) -> "Asset | None":
        """Return what an answer says of this asset; None if it says nothing of it.

        Where it stands in the answer is presumed: in `asset`, among `assets`, or as the answer.
        """
        assets = envelope.get("assets")
        listed = assets if isinstance(assets, list) else ()
        for data in (envelope.get("asset"), *listed, envelope):
            if isinstance(data, Mapping) and data.get("id") == asset_id:
                return cls(id=asset_id, duration_seconds=_seconds(data.get("duration")))
        return None


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if isfinite(value) and value > 0 else None
