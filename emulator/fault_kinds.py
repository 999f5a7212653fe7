"""The kinds of faults: which calls each applies to and which parameters it takes."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

JOB_CALLS = frozenset({"jobs/create_export", "jobs/get", "jobs/list", "jobs/cancel"})
API_CALLS = JOB_CALLS | {"jobs/delete", "asset/get", "asset/list"}
FILES = frozenset({"media", "captions"})
CALLS = API_CALLS | FILES


BODILESS = frozenset({204, 205, 304})


def is_count(value: object) -> bool:
    """Tell whether a value is a whole number, 0 or more."""
    return type(value) is int and value >= 0


def is_share(value: object) -> bool:
    """Tell whether a value is a number from 0 to 1."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _is_span(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and value >= 0  # type: ignore[arg-type, operator]


@dataclass(frozen=True)
class Parameter:
    """What one parameter must be, in words and as a test."""

    words: str
    test: Callable[[Any], bool]
    required: bool = False


@dataclass(frozen=True)
class Kind:
    """One kind of fault."""

    calls: frozenset[str]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)

    def check(self, given: Mapping[str, Any]) -> None:
        """Raise ValueError with a sentence that names the parameter that is wrong."""
        if unknown := given.keys() - self.parameters.keys():
            raise ValueError(f"{min(unknown)} is not a field of this kind of fault")
        for name, parameter in self.parameters.items():
            if name not in given:
                if parameter.required:
                    raise ValueError(f"{name} must be given: {parameter.words}")
            elif not parameter.test(given[name]):
                raise ValueError(f"{name} must be {parameter.words}")


def _one_of(*choices: str) -> Parameter:
    return Parameter(f"one of {', '.join(choices)}", lambda value: value in choices)


_TEXT = Parameter("a text", lambda value: isinstance(value, str))
_FLAG = Parameter("true or false", lambda value: isinstance(value, bool))
_SECONDS = Parameter("a number of seconds, 0 or more", _is_span)
_BODY = _one_of("html", "empty", "json")
_WHEN = _one_of("before", "after")
_STATUS = Parameter(
    "an HTTP status from 200 to 599 that may have a body",
    lambda v: is_count(v) and v in range(200, 600) and v not in BODILESS,
)
_CODE = Parameter("a whole number that is not 0", lambda v: type(v) is int and v != 0)
_RETRY_AFTER = Parameter("seconds or an HTTP date", lambda v: is_count(v) or isinstance(v, str))
_BYTES = Parameter("a whole number of bytes", is_count, required=True)
_RATE = Parameter("a whole number above 0", lambda v: is_count(v) and v > 0, required=True)
_ANY = Parameter("any JSON value", lambda _: True)
_ERROR = {"code": _CODE, "msg": _TEXT, "status": _STATUS, "body": _BODY}


def _required(parameter: Parameter) -> Parameter:
    return Parameter(parameter.words, parameter.test, required=True)


KINDS: Mapping[str, Kind] = {
    "delay": Kind(CALLS, {"seconds": _required(_SECONDS), "when": _WHEN}),
    "hang": Kind(CALLS, {"cap_seconds": _SECONDS, "when": _WHEN}),
    "reset_before": Kind(CALLS),
    "reset_after": Kind(API_CALLS),
    "status": Kind(
        CALLS,
        {
            "status": _required(_STATUS),
            "retry_after": _RETRY_AFTER,
            "location": _TEXT,
            "body": _BODY,
        },
    ),
    "html": Kind(CALLS),
    "empty": Kind(CALLS),
    "error": Kind(API_CALLS, _ERROR),
    "error_after": Kind(API_CALLS, _ERROR),
    "malformed": Kind(
        JOB_CALLS | {"asset/get"},
        {"member": _required(_TEXT), "value": _ANY, "missing": _FLAG},
    ),
    "wrong_state": Kind(JOB_CALLS, {"state": _required(_TEXT)}),
    "extra_members": Kind(
        API_CALLS, {"members": Parameter("an object", lambda v: isinstance(v, dict))}
    ),
    "truncate": Kind(FILES, {"bytes": _BYTES}),
    "short": Kind(FILES, {"bytes": _BYTES}),
    "cut": Kind(FILES, {"bytes": _BYTES}),
    "throttle": Kind(FILES, {"bytes_per_second": _RATE}),
    "ignore_range": Kind(FILES),
    "not_found": Kind(FILES),
    "forbidden": Kind(FILES),
    "login_page": Kind(FILES),
    "no_length": Kind(FILES),
    "changed_etag": Kind(FILES, {"etag": _TEXT}),
}

BODY_KINDS = frozenset(
    {"truncate", "short", "cut", "throttle", "ignore_range", "no_length", "changed_etag"}
) | {"login_page"}
"""Kinds that show in a file's body: a HEAD request does not use them up."""
