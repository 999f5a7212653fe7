"""Which assets the emulated account holds, and what is special about each."""

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from emulator.parameters import ID
from emulator.settings import EmulatorSettings

LONGEST_MEDIA_SECONDS = 12 * 3600


@dataclass(frozen=True)
class Asset:
    """One asset, as the settings and its overrides make it."""

    missing: bool
    captions: bool
    media_seconds: float
    media_size_bytes: int | None
    wait_seconds: float
    run_seconds: float
    fail_attempts: int = 0
    last_error: str = "Encoding failed"
    audio: Literal["as-asked", "none"] = "as-asked"

    def problem(self) -> str | None:
        """Return what is wrong with these values, naming the field, or None."""
        flags = {"missing": self.missing, "captions": self.captions}
        counts = {"fail_attempts": self.fail_attempts, "media_size_bytes": self.media_size_bytes}
        spans = {"wait_seconds": self.wait_seconds, "run_seconds": self.run_seconds}
        bad = [
            *(f"{name} must be true or false" for name, v in flags.items() if type(v) is not bool),
            *(f"{name} must be a whole number, 0 or more" for name, v in counts.items()
              if not (_is_count(v) or (v is None and name == "media_size_bytes"))),
            *(f"{name} must be seconds, 0 or more" for name, v in spans.items() if not _is_span(v)),
        ]  # fmt: skip
        if not _is_span(self.media_seconds) or not 0 < self.media_seconds <= LONGEST_MEDIA_SECONDS:
            bad.append(f"media_seconds must be above 0 and at most {LONGEST_MEDIA_SECONDS}")
        if not isinstance(self.last_error, str):
            bad.append("last_error must be a text")
        if self.audio not in ("as-asked", "none"):
            bad.append('audio must be "as-asked" or "none"')
        return bad[0] if bad else None


class Catalogue:
    """Every id of 32 hex digits is an asset, unless it was declared missing."""

    def __init__(self, settings: EmulatorSettings) -> None:
        self._settings = settings
        self._overrides: dict[str, dict[str, Any]] = {}
        self._named: dict[str, None] = {}

    def asset(self, asset_id: str) -> Asset:
        """Return the asset as the settings and its overrides make it."""
        settings = self._settings
        usual = Asset(
            missing=asset_id in settings.missing or not ID.fullmatch(asset_id),
            captions=has_captions(asset_id, settings.captions),
            media_seconds=settings.media_seconds,
            media_size_bytes=settings.media_size_bytes,
            wait_seconds=settings.wait_seconds,
            run_seconds=settings.run_seconds,
        )
        return replace(usual, **self._overrides.get(asset_id, {}))

    def find(self, asset_id: str) -> Asset | None:
        """Return the asset if the account holds it, and remember that it was named."""
        asset = self.asset(asset_id)
        if asset.missing:
            return None
        self._named[asset_id] = None
        return asset

    def override(self, asset_id: str, values: dict[str, Any]) -> dict[str, Any]:
        """Set members of one asset over the settings, and return what the asset is now.

        Raises:
            ValueError: A sentence that names the field that is wrong; nothing was changed.
        """
        if not ID.fullmatch(asset_id):
            raise ValueError("id must be 32 hex digits")
        unknown = values.keys() - {each.name for each in fields(Asset)}
        if unknown:
            raise ValueError(f"{min(unknown)} is not a member of an asset")
        asset = replace(self.asset(asset_id), **values)
        if problem := asset.problem():
            raise ValueError(problem)
        self._overrides[asset_id] = self._overrides.get(asset_id, {}) | values
        self._named[asset_id] = None
        return asdict(asset)

    def named(self) -> list[str]:
        """Return the ids of the assets that were named so far, first named first."""
        return [each for each in self._named if not self.asset(each).missing]

    def reset(self) -> None:
        """Forget all overrides and names."""
        self._overrides.clear()
        self._named.clear()


def has_captions(asset_id: str, rule: str) -> bool:
    """Tell whether an asset has captions; under "some", those whose last hex digit is even."""
    return rule == "all" or (rule == "some" and asset_id[-1:] in "02468ace")


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_span(value: object) -> bool:
    # neither a bool, which isinstance would let pass, nor a subclass; mypy does not follow that
    return type(value) in (int, float) and math.isfinite(value) and value >= 0  # type: ignore[arg-type, operator]
