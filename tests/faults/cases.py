"""Cases: each fault of the emulator's that strikes what a stage of an export calls."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from emulator.fault_kinds import API_CALLS, KINDS

# A server that hangs resets the connection after this long: to a step that is what a timeout is.
_SOON = 0.02

Variants = tuple[Mapping[str, Any], ...]

_PLAIN: Variants = ({},)
_FAILURE = {"code": 7, "msg": "Something went wrong"}


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of an export's way that a fault can strike.

    Attributes:
        title: what is done there.
        call: the call that is struck, in the emulator's words.
        comes_by: the fault without which no export comes to this call, if there must be one.
        is_cancelled: whether the request is withdrawn while Uplynk has the job.
    """

    title: str
    call: str
    comes_by: Mapping[str, Any] | None = None
    is_cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """One fault at one stage."""

    stage: Stage
    kind: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        values = (f"{name}={value}" for name, value in self.parameters.items())
        return " ".join((self.kind, *values))


STAGES = (
    Stage("Uplynk is asked for the export", "jobs/create_export"),
    Stage(
        "The job of a call that was not answered is looked for",
        "jobs/list",
        comes_by={"call": "jobs/create_export", "kind": "reset_after", "times": 1},
    ),
    Stage("The job is looked at", "jobs/get"),
    Stage("The job is stopped, as its request was withdrawn", "jobs/cancel", is_cancelled=True),
    Stage("The film is brought", "media"),
    Stage("The film's duration is compared with its asset's", "asset/get"),
    Stage("The captions are brought", "captions"),
)

_OF_CALLS: Mapping[str, Variants] = MappingProxyType(
    {
        "delay": ({"seconds": _SOON},),
        "hang": (
            {"when": "before", "cap_seconds": _SOON},
            {"when": "after", "cap_seconds": _SOON},
        ),
        "status": (
            {"status": 403},
            {"status": 429, "retry_after": 30},
            {"status": 503, "retry_after": 30},
            {"status": 500, "body": "json"},
        ),
        "error": (_FAILURE, {"code": 1, "msg": "Invalid signature"}),
        "error_after": (_FAILURE,),
        "malformed": ({"member": "error"}, {"member": "id"}, {"member": "state"}),
        "wrong_state": ({"state": "pondering"},),
        "extra_members": ({"members": {"novel": [1]}},),
    }
)
_TEXTS_BYTES = 100  # of captions, which are a short text
_MORE: Mapping[tuple[str, str], Variants] = MappingProxyType(
    {
        ("jobs/list", "malformed"): ({"member": "jobs"}, {"member": "id"}, {"member": "args"}),
        ("asset/get", "malformed"): ({"member": "error"}, {"member": "id"}, {"member": "duration"}),
        ("captions", "truncate"): ({"bytes": _TEXTS_BYTES},),
        ("captions", "short"): ({"bytes": _TEXTS_BYTES},),
        ("captions", "cut"): ({"bytes": _TEXTS_BYTES},),
        ("jobs/get", "malformed"): (*_OF_CALLS["malformed"], {"member": "hd_exported_url"}),
    }
)
_OF_FILES: Mapping[str, Variants] = MappingProxyType(
    {
        "delay": ({"seconds": _SOON},),
        "hang": ({"when": "before", "cap_seconds": _SOON},),
        "status": ({"status": 410}, {"status": 429}, {"status": 503}),
        "truncate": ({"bytes": 100},),  # so little that no number of tries brings a film
        "short": ({"bytes": 1000},),
        "cut": ({"bytes": 100},),
        "throttle": ({"bytes_per_second": 1_000_000},),
    }
)


def cases() -> Iterator[Case]:
    """Give every case, by stage and kind; each kind that can strike a stage is there."""
    for stage in STAGES:
        by_kind = _OF_CALLS if stage.call in API_CALLS else _OF_FILES
        for kind, of in KINDS.items():
            if stage.call in of.calls:
                variants = _MORE.get((stage.call, kind)) or by_kind.get(kind, _PLAIN)
                yield from (Case(stage, kind, parameters) for parameters in variants)
