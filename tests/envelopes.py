"""Envelopes: strategies for whatever a server may answer, likely things and absurd ones."""

import json
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

# The same examples each time: CI fails for what was changed, never for what was drawn.
STABLE = settings(
    deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], database=None
)

STATUSES = [
    200,
    201,
    204,
    299,
    301,
    307,
    400,
    401,
    403,
    404,
    408,
    409,
    422,
    429,
    500,
    502,
    503,
    599,
]
WORDS = [
    "Not found",
    "Bad signature",
    "User not found",
    "Too many",
    "a\0b",
    "\ud800",
    "waiting",
    "done",
    "0",
    "x" * 3000,
]
MEMBERS = ["error", "msg", "job", "jobs", "actions", "id", "state", "asset", "args", "last_error"]

texts = st.sampled_from(WORDS) | st.text(st.characters(exclude_categories=[]), max_size=40)
numbers = st.sampled_from([0, 1, -1, 2**63, 10**400, 0.0, 1e300]) | st.integers() | st.floats()
json_values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(MEMBERS) | st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=10,
)
jobs = json_values | st.fixed_dictionaries(
    {"id": st.just("j") | texts, "state": texts},
    optional={"asset": st.just("a") | texts, "args": json_values, "finished": numbers},
)
envelopes = st.fixed_dictionaries(
    {"error": st.sampled_from([0, 0, 0, 1, -5, True, "0", None, 0.0, 10**400])},
    optional={
        "msg": json_values,
        "job": jobs,
        "jobs": st.lists(jobs, max_size=3) | json_values,
        "actions": st.lists(st.lists(texts, max_size=3), max_size=3) | json_values,
    },
)
bodies = st.one_of(
    envelopes.map(lambda value: json.dumps(value).encode()),
    json_values.map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=200),
    st.sampled_from([b"", b"<html>", b"[" * 100_000, b'{"error": 0', b'{"error": 0}' * 2]),
)
dates = st.sampled_from(
    [
        "Thu, 01 Jan 2026 12:00:00 GMT",
        "Thu, 01 Jan 2026 22:00:00 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Mon, 01 Jan 0001 00:00:00 +2359",
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        "7",
        "-1",
        "soon",
        "",
    ]
)
headers = st.fixed_dictionaries({}, optional={"Date": dates, "Retry-After": dates})


def is_storable(text: str) -> bool:
    """Return whether a database takes the text."""
    return "\0" not in text and text.encode("utf-8", "replace").decode() == text


def decoded(body: bytes) -> Any:
    """Return the JSON value of a body, or None."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def error_of(body: bytes) -> int | None:
    """Return the envelope's `error` if it is a whole number."""
    value = decoded(body)
    error = value.get("error") if isinstance(value, dict) else None
    return error if type(error) is int else None
