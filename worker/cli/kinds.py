"""Kinds: what options are given as, and what a shell offers to complete them with."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches

import click

from models.listing import Place
from worker.remedies import REMEDIES

_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_OLDEST = timedelta(days=36_500)


def moment(value: str) -> datetime | timedelta:
    """Return what is meant by a time, in UTC unless it says else, or by an age: how long ago.

    Raises:
        click.BadParameter: it is neither.
    """
    if found := _AGE.fullmatch(value):
        try:
            return min(timedelta(**{_UNITS[found[2]]: float(found[1])}), _OLDEST)
        except OverflowError:
            return _OLDEST
    time = _time(value)
    if time is None:
        raise click.BadParameter(
            f"{value!r} is neither an age (30m, 2h, 7d) nor a time (2026-03-01T12:00)"
        )
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time


def _time(value: str) -> datetime | None:
    """Return a time as it is written, if UTC has it as well: the year 0 and 10000 are in none."""
    try:
        time = datetime.fromisoformat(value)
        if time.tzinfo is not None:
            time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return time


def ago(moment: datetime | timedelta | None, now: datetime) -> datetime | None:
    """Return the time that is meant; None for none."""
    return now - moment if isinstance(moment, timedelta) else moment


def cursor(value: str) -> Place:
    """Return where a page ended, as `list` said it.

    Raises:
        click.BadParameter: `list` says nothing like it.
    """
    time, _, request_id = value.partition("/")
    at = _time(time)
    if at is None or at.tzinfo is None or not request_id:
        raise click.BadParameter(f"{value!r} is no cursor; the page before ends with one")
    return Place(at, request_id)


def shown(place: Place) -> str:
    """Return a place as `cursor` reads it."""
    return f"{place.at.isoformat()}/{place.request_id}"


def code(value: str) -> str:
    """Return an error code that there is.

    Raises:
        click.BadParameter: there is none of this name.
    """
    if value in REMEDIES:
        return value
    like = get_close_matches(value, REMEDIES, n=3)
    meant = f"did you mean {' or '.join(like)}? " if like else ""
    raise click.BadParameter(f"{value!r} is no error code; {meant}docs/errors.md lists them")


def codes(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> Sequence[str]:
    """Return the codes that begin so."""
    return [each for each in REMEDIES if each.startswith(incomplete)]


def batches(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> Sequence[str]:
    """Return the batches on record that begin so, if the database tells them at once."""
    from worker import names  # noqa: PLC0415  (the database, for whoever asks for its names)

    return names.batches(incomplete)
