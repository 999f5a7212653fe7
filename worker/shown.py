"""Shown: what a message asked for, in so many words as Flower and a worker's log may tell.

Its sender chose what is in it: metadata of any size, a webhook's address with a secret in its
path or its query, names that are none of ours. All of that stands in SQL, and here no more than is
said of it.
"""

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

# Arguments whose values are told, cut to so many characters.
TOLD = frozenset(
    {
        "aaclc", "asset", "before", "callback", "code", "export_id", "priority", "request_id",
        "requester",
    }
)  # fmt: skip
LONGEST_VALUE = 120
LONGEST_NAME = 32
MOST_NAMES = 12


def positional(values: Sequence[object]) -> str:
    """Return positional arguments in words: none of our tasks has any."""
    return f"({len(values)} values)" if values else "()"


def named(values: Mapping[str, object]) -> str:
    """Return named arguments in words."""
    some = list(values.items())[:MOST_NAMES]
    told = [f"{_cut(repr(name), LONGEST_NAME)}: {_value(name, value)}" for name, value in some]
    if len(values) > len(some):
        told.append(f"and {len(values) - len(some)} more")
    return "{" + ", ".join(told) + "}"


def _value(name: str, value: object) -> str:
    if value is None or name in TOLD:
        return _cut(repr(value), LONGEST_VALUE)
    if name == "webhook_url" and isinstance(value, str):
        return _cut(repr(address(value)), LONGEST_VALUE)
    if isinstance(value, Mapping | list | str):
        return f"<{type(value).__name__} of {len(value)}>"
    return f"<{type(value).__name__}>"


def address(url: str) -> str:
    """Return to whom a URL leads: its path and its query could be a secret."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "no URL"
    if not parts.scheme or not host:
        return "no URL"
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}{'' if port is None else f':{port}'}"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
