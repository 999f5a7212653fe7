"""Lists: files that name many assets, read line by line with distrust.

A list is JSON lines, each an object of the arguments of `exports.create`, with or without an `id`;
or CSV with these names in its first line; or nothing but asset ids, one a line. In CSV a member of
an argument is a column of its own: `metadata.article`, `callback.task`. Each line stands for
itself: one that is wrong spoils no other.
"""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any
from uuid import UUID, uuid5

from worker.errors import InvalidRequest
from worker.steps.bulk import Entry
from worker.steps.wish import Wish, check_id, is_asset, read

# The ids of requests of a list are made in this namespace (RFC 9562, 5.5).
_NAMESPACE = UUID("7b1d3a86-0c0f-4f6e-9a55-3f0a2b6f1c27")
_DELIMITERS = ",;\t"
_OTHER = (
    "its id, {}, is that of line {}, which asks for something else or has other metadata; it needs"
    " an id of its own"
)
_FLAGS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
# Arguments that have members, each of which may be a column.
_MEMBERS = {"metadata", "callback"}
_MARK = "\ufeff"  # by which some spreadsheets begin a file

_Parse = Callable[[str], dict[str, Any]]


class ListError(Exception):
    """Not a line of it but the whole list can't be read; the message says why."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a list.

    Attributes:
        number: which it is; the first is 1.
        entry: what is asked for, if that can be told.
        wrong: why it can't.
        repeats: the number of the line that asks for the very same.
    """

    number: int
    entry: Entry | None = None
    wrong: str = ""
    repeats: int | None = None


def lines(source: Iterable[bytes], *, batch: str, defaults: Mapping[str, Any]) -> Iterator[Line]:
    """Give each line that is not empty, but for a first line that names columns.

    A line without an id has one that is made of the batch, the asset and the codec: the same list
    in the same batch is made of the same requests.

    Args:
        source: the lines as bytes in UTF-8.
        batch: the name of the batch that they belong to.
        defaults: arguments for the lines that don't say them.

    Raises:
        ListError: its first line makes no sense, and so none does.
    """
    numbered = ((number, line) for number, line in enumerate(source, 1) if line.strip())
    first = next(numbered, None)
    if first is None:
        raise ListError("it is empty")
    try:
        parse, is_header = _parser(_first_line(first[1]))
    except ValueError as error:
        raise ListError(f"its first line {error}") from None
    seen: dict[str, tuple[int, int]] = {}
    for number, line in numbered if is_header else chain([first], numbered):
        try:
            entry = _entry(parse(_text(line)), batch, defaults)
        except ValueError as error:
            yield Line(number, wrong=str(error))
            continue
        what = _what(entry.wish)
        before, same = seen.setdefault(entry.request_id, (number, what))
        if before == number:
            yield Line(number, entry)
        elif same == what:
            yield Line(number, entry, repeats=before)
        else:
            yield Line(number, wrong=_OTHER.format(entry.request_id, before))


def _what(wish: Wish) -> int:
    """Return a number that tells a wish from others that differ in more than their urgency."""
    return hash(wish.model_dump_json(exclude={"priority", "requester"}))


def request_id(batch: str, wish: Wish) -> str:
    """Return the id of a request of a batch that was given none."""
    return str(uuid5(_NAMESPACE, f"{batch}/{wish.asset}/{wish.audio}"))


def _entry(arguments: dict[str, Any], batch: str, defaults: Mapping[str, Any]) -> Entry:
    """Return what these arguments ask for.

    Raises:
        ValueError: they make no sense.
    """
    given = arguments.pop("id", None)
    if given is not None and not isinstance(given, str):
        raise ValueError("the id is no text")
    try:
        said = {name: value for name, value in arguments.items() if value is not None}
        wish = read({**defaults, **said})
        entry = Entry(given if given is not None else request_id(batch, wish), wish)
        check_id(entry.request_id)
    except InvalidRequest as error:
        raise ValueError(str(error).removeprefix("exports.create was sent ")) from None
    return entry


def _first_line(line: bytes) -> str:
    try:
        return _text(line)
    except ValueError:
        raise ListError("it is not UTF-8; save it as “CSV UTF-8” or as JSON lines") from None


def _text(line: bytes) -> str:
    try:
        return line.decode().removeprefix(_MARK).strip("\r\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 (byte {error.start + 1})") from None


def _parser(first: str) -> tuple[_Parse, bool]:
    """Return what reads a line, and whether the first one only names the columns."""
    if first.lstrip().startswith("{"):
        return _json_object, False
    if is_asset(first.strip()):
        return lambda line: {"asset": line.strip()}, False
    delimiter = max(_DELIMITERS, key=first.count)
    names = [name.strip() for name in _cells(first, delimiter)]
    _check_names(names)

    def parse(line: str) -> dict[str, Any]:
        cells = [cell.strip() for cell in _cells(line, delimiter)]
        if len(cells) != len(names):
            raise ValueError(f"has {len(cells)} cells, and the first line names {len(names)}")
        arguments: dict[str, Any] = {}
        for name, cell in zip(names, cells, strict=True):
            if cell:
                _put(arguments, name, cell)
        return arguments

    return parse, True


def _check_names(names: list[str]) -> None:
    known = {"id", *Wish.model_fields}
    if "asset" not in names:
        raise ListError(
            "its first line names no column `asset`, and is neither an asset's id nor a JSON object"
        )
    for name in names:
        whole, _, member = name.partition(".")
        if name not in known and not (member and whole in _MEMBERS):
            raise ListError(
                f"its first line names a column `{name}`; there are {', '.join(sorted(known))},"
                " and for what is yours `metadata.…`"
            )
        if names.count(name) > 1:
            raise ListError(f"its first line names the column `{name}` twice")


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise ValueError(f"is no line of CSV, which must stand by itself: {error}") from None


def _put(arguments: dict[str, Any], name: str, cell: str) -> None:
    """Set down what a cell says of an argument.

    Raises:
        ValueError: it is no such thing.
    """
    whole, _, member = name.partition(".")
    if member:
        there = arguments.setdefault(whole, {})
        if not isinstance(there, dict):
            raise ValueError(f"{whole} is no JSON object, and can't have a member {member}")
        there[member] = cell
    elif name == "aaclc":
        if cell.lower() not in _FLAGS:
            raise ValueError(f"aaclc: is neither of {', '.join(_FLAGS)}")
        arguments[name] = _FLAGS[cell.lower()]
    elif name == "priority":
        try:
            arguments[name] = int(cell)
        except ValueError:
            raise ValueError("priority: is no whole number") from None
    elif name in _MEMBERS:
        there = arguments.get(name, {})
        arguments[name] = {**_json_object(cell), **there}
    else:
        arguments[name] = cell


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError("is no JSON object")  # noqa: TRY004  (what is wrong is the line)
    return value
