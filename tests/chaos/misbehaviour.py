"""Misbehaviour: the ways in which a storm's Uplynk fails, as faults of the emulator's.

Left out is what no design can see: an answer that lies in well-formed words. Such are `error_after`
(the refusal of a call that was done), a list whose jobs have lost their `asset` or `args`, the 404
for captions that are there, and a state that the job is not in.
"""

from collections.abc import Callable, Mapping
from random import Random
from types import MappingProxyType
from typing import Any

Parameters = dict[str, Any]
Drawn = Callable[[Random], Parameters]

CREATE, GET, LIST = "jobs/create_export", "jobs/get", "jobs/list"
MEDIA, CAPTIONS = "media", "captions"


def _nothing(_: Random) -> Parameters:
    return {}


def _hang(random: Random) -> Parameters:
    return {"when": random.choice(("before", "after")), "cap_seconds": random.uniform(2, 6)}


def _status(random: Random) -> Parameters:
    status = random.choice((429, 500, 502, 503))
    wait = {"retry_after": random.randint(1, 2)} if status in {429, 503} else {}
    return {"status": status, "body": random.choice(("html", "empty", "json")), **wait}


def _delay(random: Random) -> Parameters:
    return {"seconds": random.uniform(0.2, 2.0), "when": random.choice(("before", "after"))}


def _without(*members: str) -> Drawn:
    return lambda random: {"member": random.choice(members)}


def _bytes(random: Random) -> Parameters:
    return {"bytes": random.choice((0, 1, 1000, 15_000, 300_000, 1_500_000))}


def _rate(random: Random) -> Parameters:
    return {"bytes_per_second": random.choice((100_000, 300_000, 1_000_000))}


def _file_status(random: Random) -> Parameters:
    return {"status": random.choice((500, 503))}


def _failure(_: Random) -> Parameters:
    return {"code": 7, "msg": "Something went wrong"}


_ANY_CALL: Mapping[str, Drawn] = {
    "delay": _delay,
    "hang": _hang,
    "reset_before": _nothing,
    "reset_after": _nothing,
    "status": _status,
    "html": _nothing,
    "empty": _nothing,
    "extra_members": _nothing,
}

_ANY_FILE: Mapping[str, Drawn] = {
    "delay": _delay,
    "hang": _hang,
    "reset_before": _nothing,
    "status": _file_status,
    "html": _nothing,
    "empty": _nothing,
    "truncate": _bytes,
    "short": _bytes,
    "cut": _bytes,
    "forbidden": _nothing,
    "login_page": _nothing,
    "no_length": _nothing,
}

# By call and kind: what is drawn for its parameters.
MISBEHAVIOURS: Mapping[tuple[str, str], Drawn] = MappingProxyType(
    {
        **{
            (call, kind): drawn for call in (CREATE, GET, LIST) for kind, drawn in _ANY_CALL.items()
        },
        **{(call, kind): drawn for call in (MEDIA, CAPTIONS) for kind, drawn in _ANY_FILE.items()},
        (CREATE, "malformed"): _without("id", "job", "state", "error"),
        (GET, "malformed"): _without("id", "job", "state", "error", "hd_exported_url"),
        (LIST, "malformed"): _without("id", "jobs", "state", "error"),
        (GET, "error"): _failure,
        (LIST, "error"): _failure,
        (GET, "wrong_state"): lambda _: {"state": "pondering"},
        (MEDIA, "throttle"): _rate,
        (MEDIA, "not_found"): _nothing,
        (MEDIA, "ignore_range"): _nothing,
        (MEDIA, "changed_etag"): _nothing,
    }
)
