"""Schedule: which disaster comes when; all of it follows from a seed.

What the processes make of it does not: no two runs interleave alike.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from types import MappingProxyType
from typing import Any

from tests.chaos.fleet import Post
from tests.chaos.misbehaviour import CAPTIONS, CREATE, GET, LIST, MEDIA, MISBEHAVIOURS


@dataclass(frozen=True, slots=True)
class Event:
    """Something that befalls the world `at` a second of the storm.

    Attributes:
        at: when.
        kind: one of `events.EVENTS`.
        post: the name of the worker's post that it is about, if it is about one.
        seconds: how long it lasts, or how long until the dead are replaced.
        details: what else was drawn for it.
    """

    at: float
    kind: str
    post: str | None = None
    seconds: float = 0.0
    details: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        words = [f"{self.at:6.1f} s", self.kind, self.post or "", f"for {self.seconds:.1f} s"]
        words += [f"{name}={value}" for name, value in self.details.items()]
        return " ".join(word for word in words if word)


@dataclass(frozen=True, slots=True)
class Family:
    """Events of one sort: one comes every `every` seconds on the average.

    Attributes:
        kinds: each with the least and the greatest of its `seconds`. They are dealt like cards, so
            that also a short storm has some of each.
        every: seconds.
    """

    kinds: Mapping[str, tuple[float, float]]
    every: float


# A claim holds for 5 s, that of a call to Uplynk for 11 s: a pause may be longer than either.
FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "workers": Family(
            {
                "kill": (0.0, 3.0),
                "pause": (6.0, 14.0),
                "terminate": (0.0, 3.0),
                "kill_child": (0.0, 0.0),
            },
            every=2.5,
        ),
        "broker": Family(
            {"flush": (0.0, 0.0), "cut_clients": (0.0, 0.0), "broker_dies": (0.3, 4.0)}, every=9.0
        ),
        "database": Family(
            {"cut_sessions": (0.0, 0.0), "database_restarts": (0.2, 3.0), "read_only": (1.0, 5.0)},
            every=9.0,
        ),
        "uplynk": Family({"misbehave": (3.0, 9.0)}, every=1.0),
    }
)

# How often each call is struck, against the others: the more there is to lose, the more often.
WEIGHTS = {CREATE: 3, GET: 2, LIST: 2, MEDIA: 3, CAPTIONS: 1}

LAST_PART = 0.95  # of the storm's time; what comes later would last for no time


def draw(
    seed: int, *, seconds: float, posts: Sequence[Post], families: Collection[str] = FAMILIES.keys()
) -> list[Event]:
    """Return the events of a storm of so many seconds over these posts, first first.

    Each family draws by itself: left alone, one deals what it deals among all.
    """
    events = [_slow_lines(seconds)]
    for name in families:
        random = Random(f"{seed}/{name}")
        events += _events(random, FAMILIES[name], seconds, posts)
    return sorted(events, key=lambda event: event.at)


def _slow_lines(seconds: float) -> Event:
    """Return what makes some downloads take their time throughout the storm."""
    details = {
        "call": MEDIA,
        "fault": "throttle",
        "probability": 0.5,
        "parameters": {"bytes_per_second": 200_000},
    }
    return Event(0.0, "misbehave", seconds=seconds, details=details)


def _events(
    random: Random, family: Family, seconds: float, posts: Sequence[Post]
) -> Iterator[Event]:
    kinds = _dealt(random, list(family.kinds))
    faults = _faults(random)
    at = random.uniform(0, family.every)
    while at < LAST_PART * seconds:
        kind = next(kinds)
        lasting = random.uniform(*family.kinds[kind])
        post, details = _about(random, kind, posts, faults)
        yield Event(round(at, 2), kind, post, round(lasting, 2), details)
        at += random.uniform(0.3, 1.7) * family.every


def _about(
    random: Random, kind: str, posts: Sequence[Post], faults: Iterator[tuple[str, str]]
) -> tuple[str | None, dict[str, Any]]:
    """Return whom an event of this kind is about, and what else is to be known."""
    if kind == "misbehave":
        call, fault = next(faults)
        parameters = MISBEHAVIOURS[call, fault](random)
        chance = round(random.uniform(0.3, 0.9), 2)
        return None, {
            "call": call, "fault": fault, "probability": chance, "parameters": parameters
        }  # fmt: skip
    if kind == "kill_child":
        post = random.choice([post for post in posts if post.pool == "prefork"])
        return post.name, {"child": random.randrange(100)}
    return (random.choice(posts).name, {}) if kind in FAMILIES["workers"].kinds else (None, {})


def _faults(random: Random) -> Iterator[tuple[str, str]]:
    """Give calls and kinds of faults, the calls by their weights."""
    kinds = {
        call: _dealt(random, [kind for of, kind in MISBEHAVIOURS if of == call]) for call in WEIGHTS
    }
    for call in _dealt(random, [call for call, weight in WEIGHTS.items() for _ in range(weight)]):
        yield call, next(kinds[call])


def _dealt(random: Random, cards: list[Any]) -> Iterator[Any]:
    """Give the cards in random order, shuffled anew each time that all were given."""
    while True:
        yield from random.sample(cards, len(cards))
