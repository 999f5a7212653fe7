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
        state: Uplynk's word for it, if that was given; "ready" can be exported.
        is_protected: whether it is only played under DRM.
    """

    id: str
    duration_seconds: float | None = None
    state: str | None = None
    is_protected: bool = False

    @property
    def is_ready(self) -> bool:
        """Whether it can be exported, as far as that was told."""
        return self.state in {None, "ready"}

    @classmethod
    def find(cls, envelope: Mapping[str, Any], asset_id: str) -> "Asset | None":
        """Return what an answer says of this asset; None if it says nothing of it.

        Where it stands in the answer is presumed: in `asset`, among `assets`, or as the answer.
        """
        assets = envelope.get("assets")
        listed = assets if isinstance(assets, list) else ()
        for data in (envelope.get("asset"), *listed, envelope):
            if isinstance(data, Mapping) and data.get("id") == asset_id:
                return cls._read(data, asset_id)
        return None

    @classmethod
    def find_all(cls, envelope: Mapping[str, Any]) -> "dict[str, Asset] | None":
        """Return, by id, all that an answer tells of; None if it is no answer about assets.

        Where they stand is presumed: in `assets` or the only list, or as an object by their ids.
        """
        assets = envelope.get("assets")
        if assets is None:
            lists = [value for value in envelope.values() if isinstance(value, list)]
            assets = lists[0] if len(lists) == 1 else None
        if isinstance(assets, Mapping):
            assets = list(assets.values())
        if not isinstance(assets, list):
            return None
        told = [data for data in assets if isinstance(data, Mapping)]
        ids = [data.get("id") for data in told]
        return {
            asset_id: cls._read(data, asset_id)
            for asset_id, data in zip(ids, told, strict=True)
            if isinstance(asset_id, str)
        }

    @classmethod
    def _read(cls, data: Mapping[str, Any], asset_id: str) -> "Asset":
        state = data.get("state")
        return cls(
            id=asset_id,
            duration_seconds=_seconds(data.get("duration")),
            state=state if isinstance(state, str) else None,
            is_protected=bool(data.get("require_drm") or data.get("require_studio_drm")),
        )


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if isfinite(value) and value > 0 else None
