"""What the emulator can be told before it starts.

The facts that no public text settles are settings here, so that a client can be tried against each
answer. `docs/emulator.md` lists them all.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

LIFE_AFTER_COMPLETION_SECONDS = 72 * 3600
"""How long a completed job can be asked for (Cloud Slicer documentation, job life time)."""

SMALLEST_SIDE = 64
"""Pixels; H.264 in yuv420p takes even numbers only."""


@dataclass(frozen=True)
class EmulatorSettings:
    """One account at the emulated Cloud Slicer, and how the slicer behaves."""

    user_id: str = "e" * 32
    api_key: str = field(default="emulator-key", repr=False)
    host: str = "127.0.0.1"
    port: int = 0
    speed: float = 1.0

    wait_seconds: float = 0.0
    run_seconds: float = 10.1
    retry_wait_seconds: float = 1.0
    max_attempts: int = 3

    media_seconds: float = 4.0
    media_size_bytes: int | None = None
    width: int = 320
    height: int = 180
    captions: Literal["some", "all", "none"] = "some"
    missing: frozenset[str] = frozenset()
    media_dir: Path | None = None
    file_life_seconds: float | None = None
    ranges: bool = True
    etags: bool = True

    list_max_limit: int = 100
    list_over_limit: Literal["refuse", "clamp"] = "refuse"
    list_order: Literal["newest", "oldest"] = "newest"
    list_lag_seconds: float = 0.0
    list_member: str = "jobs"
    other_jobs: int = 3
    timestamp_tolerance_seconds: float = 300.0
    clock_skew_seconds: float = 0.0
    error_status: int = 200
    echo_aaclc: bool = True
    calls_per_second: float | None = None

    seed: int = 0
    faults: tuple[dict[str, Any], ...] = ()

    def __post_init__(self) -> None:
        """Refuse what could not work, in a sentence that names the setting."""
        for name in ("width", "height"):
            if getattr(self, name) < SMALLEST_SIDE or getattr(self, name) % 2:
                raise ValueError(f"{name} must be an even number of at least {SMALLEST_SIDE}")
        for name in ("speed", "wait_seconds", "run_seconds", "retry_wait_seconds", "other_jobs"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be 0 or more")
        for name in ("media_seconds", "max_attempts", "list_max_limit"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0")
        if self.captions not in ("some", "all", "none"):
            raise ValueError("captions must be some, all or none")
