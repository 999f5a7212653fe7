"""The whole report: `python -m bench` measures, and puts tables and plots into docs/performance.md.

Each part's numbers are kept in docs/performance.json as soon as they are there, so that a part can
be measured anew by itself (`--only death`), as can those that were broken off. It needs
redis-server, postgresql and the extra `bench`; `make bench` has that installed. All of it takes
about an hour, and should have the machine to itself.
"""

import json
import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from bench import death, lag, lifecycle, queries, tables, waiting
from bench.contenders import CONTENDERS, OURS, TEXTBOOK

DOCS = Path(__file__).parents[1] / "docs"
# Many exports are looked at by the minute; few more often, which makes no difference to a look.
MANY, FEW = 10_000, 1000
MANY_SECONDS, FEW_SECONDS, MOST_SECONDS = 60.0, 20.0, 300.0
CYCLES = 3
ROUNDS = {OURS.name: 3, TEXTBOOK.name: 1}
DEATH_EXPORTS, DEATH_SECONDS = 1000, 20.0
LAG_JOBS = (1, 100, 1000)


def _waiting(size: float, most: int | None) -> Iterator[Any]:
    for number, seconds in ((FEW, FEW_SECONDS), (MANY, MANY_SECONDS)):
        for contender in CONTENDERS.values():
            exports = _of(number, size, least=2 * waiting.FEW)
            yield waiting.measured(contender, exports, interval=seconds, cycles=CYCLES)
    if most is not None:
        yield waiting.measured(OURS, most, interval=MOST_SECONDS, cycles=CYCLES)


def _lifecycle(size: float, _most: int | None) -> Iterator[Any]:
    exports, number = _of(lifecycle.EXPORTS, size), _of(lifecycle.ROUNDS, size)
    contenders = list(CONTENDERS.values())
    yield from lifecycle.rounds(contenders, exports, lifecycle.SIZE_BYTES, number=number)


def _death(size: float, _most: int | None) -> Iterator[Any]:
    for name, contender in CONTENDERS.items():
        exports = _of(DEATH_EXPORTS, size)
        yield death.measured(
            contender, exports, interval=DEATH_SECONDS, rounds=_of(ROUNDS[name], size)
        )


def _lag(size: float, _most: int | None) -> Iterator[Any]:
    for jobs in LAG_JOBS:
        for seconds in lag.DURATIONS:
            yield lag.measured(seconds, _of(jobs, size))
    yield lag.measured(lag.DURATIONS[-1], 1, least=lag.LONG_LEAST_SECONDS)


def _queries(size: float, _most: int | None) -> Iterator[Any]:
    finished, waiting = _of(queries.FINISHED, size), _of(queries.WAITING, size)
    with queries.crowded(finished, waiting) as engine:
        for name in queries.QUERIES:
            yield queries.measured(engine, name, finished=finished, waiting=waiting)


def _of(number: int, size: float, *, least: int = 1) -> int:
    return max(round(number * size), least)


PARTS: dict[str, Callable[[float, int | None], Iterator[Any]]] = {
    "waiting": _waiting,
    "lifecycle": _lifecycle,
    "death": _death,
    "lag": _lag,
    "queries": _queries,
}


@click.command()
@click.option("--only", multiple=True, type=click.Choice([*PARTS]), help="This part; repeatable.")
@click.option("--redraw", is_flag=True, help="Measure nothing; draw what is on record.")
@click.option("--most", type=int, help="So many exports wait as well, of ours: 100000, say.")
@click.option("--size", default=1.0, show_default=True, help="Part of the numbers, to try it out.")
@click.option(
    "--docs",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=DOCS,
    help="The folder with performance.md.",
)
def main(*, only: tuple[str, ...], redraw: bool, most: int | None, size: float, docs: Path) -> None:
    """Measure, keep the numbers, and draw tables and plots."""
    if find_spec("matplotlib") is None:
        raise click.ClickException("matplotlib is missing: pip install 'uplynk-export[bench]'")
    record = docs / "performance.json"
    for name in () if redraw else only or PARTS:
        rows = []
        for measured in PARTS[name](size, most):
            rows.append(asdict(measured))
            click.echo(json.dumps({name: rows[-1]}))
            _keep(record, name, rows)
    _draw(docs, _kept(record))


def _kept(record: Path) -> dict[str, Any]:
    return dict(json.loads(record.read_text())) if record.exists() else {}


def _keep(record: Path, name: str, rows: list[dict[str, Any]]) -> None:
    machine = f"{os.cpu_count()} cores, {platform.system()}, CPython {platform.python_version()}"
    kept = _kept(record) | {name: {"machine": machine, "rows": rows}}
    record.write_text(json.dumps(kept, indent=1) + "\n")


def _draw(docs: Path, kept: dict[str, Any]) -> None:
    """Put what is on record into the page, and draw it."""
    from bench.plots import PLOTS  # noqa: PLC0415  (the only one here that needs matplotlib)

    page = docs / "performance.md"
    for name, part in kept.items():
        content = f"Measured on: {part['machine']}.\n\n{tables.TABLES[name](part['rows'])}"
        if name in PLOTS:
            PLOTS[name](part["rows"], docs / f"performance-{name}.png")
            content += f"\n\n![{name}](performance-{name}.png)"
        page.write_text(tables.put(page.read_text(), name, content))


if __name__ == "__main__":
    main()
