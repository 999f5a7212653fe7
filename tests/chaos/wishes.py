"""Wishes: what a storm's CMS asks for, and what the assets are like, by a seed."""

from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Any
from uuid import UUID

MEDIA_SECONDS = 1.0
MOST_ATTEMPTS = 3  # after so many failed attempts a job of the emulator's is `error`

SENDING_PART = 0.85  # of the storm's time: so much of it is left to what was sent last
NEIGHBOURS = 6  # a wish that shares its asset shares it with one of so many before it


class Fate(StrEnum):
    """What is to become of an export of this asset."""

    WHOLE = "whole"  # a file
    FAILS_ONCE = "fails once"  # a file, at Uplynk's second attempt
    FAILS = "fails"  # Uplynk can't export it
    MISSING = "missing"  # Uplynk knows no such asset


FATES = (Fate.WHOLE,) * 16 + (Fate.FAILS_ONCE,) * 2 + (Fate.FAILS, Fate.MISSING)
PRIORITIES = (0, 0, 0, 0, 5, 10, -5)


@dataclass(frozen=True, slots=True)
class Asset:
    """One asset, as the emulator is told to have it."""

    id: str
    fate: Fate
    captions: bool
    run_seconds: float
    media_size_bytes: int | None

    def told(self) -> dict[str, Any]:
        """Return the members that the emulator is told."""
        fails = {Fate.FAILS: MOST_ATTEMPTS, Fate.FAILS_ONCE: 1}.get(self.fate, 0)
        return {
            "missing": self.fate is Fate.MISSING,
            "captions": self.captions,
            "media_seconds": MEDIA_SECONDS,
            "media_size_bytes": self.media_size_bytes,
            "run_seconds": self.run_seconds,
            "fail_attempts": fails,
            "last_error": f"No such track in {self.id}",
        }


@dataclass(frozen=True, slots=True)
class Wish:
    """A request that is sent `at` a second of the storm, and maybe once more `again_at`."""

    request_id: str
    asset: Asset
    aaclc: bool
    priority: int
    at: float
    again_at: float | None

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments of its message."""
        return {"asset": self.asset.id, "aaclc": self.aaclc, "priority": self.priority}


def draw(seed: int, *, count: int, seconds: float) -> list[Wish]:
    """Return `count` wishes, spread over most of a storm of so many seconds, first sent first."""
    random = Random(f"{seed}/wishes")
    times = sorted(random.uniform(0, SENDING_PART * seconds) for _ in range(count))
    wishes: list[Wish] = []
    for at in times:
        asset, aaclc = _wanted(random, wishes[-NEIGHBOURS:])
        wishes.append(
            Wish(
                request_id=str(UUID(int=random.getrandbits(128), version=4)),
                asset=asset,
                aaclc=aaclc,
                priority=random.choice(PRIORITIES),
                at=at,
                again_at=at + random.uniform(0, 3) if random.random() < 0.15 else None,
            )
        )
    return wishes


def _wanted(random: Random, before: list[Wish]) -> tuple[Asset, bool]:
    """Return what is wanted: mostly something new, at times what another wants as well."""
    chance = random.random()
    if before and chance < 0.16:
        other = random.choice(before)
        return other.asset, other.aaclc if chance < 0.08 else not other.aaclc
    return _asset(random), random.random() < 0.3


def _asset(random: Random) -> Asset:
    sizes = random.choices(
        (None, random.randrange(200_000, 2_000_000), random.randrange(2_000_000, 6_000_000)),
        weights=(5, 3, 2),
    )
    return Asset(
        id=f"{random.getrandbits(128):032x}",
        fate=random.choice(FATES),
        captions=random.random() < 0.4,
        run_seconds=round(random.uniform(0.5, 5.0), 2),
        media_size_bytes=sizes[0],
    )
