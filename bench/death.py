"""Death: kill -9 with everything waiting, ours beside a textbook's: how long until polling goes on.

`python -m bench.death` puts exports under way, lets the worker look at each, waits until some are
due again, kills it and all that came from it with SIGKILL within the next 4 s, before ours has
looked, and starts another at once, as a supervisor does. It measures how long it takes from the
kill to the first look at a job, and until each was looked at again.

Ours goes by what SQL says, with all settings as they are by default. The textbook's messages are in
the dead worker's hands until Redis' visibility timeout: here it is 60 s. A real one would have an
hour, Celery's default, or more: it must be longer than any countdown.
"""

import json
import os
import signal
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from random import Random

import click
from sqlalchemy import text

from bench import meter
from bench.contenders import CONTENDERS, Contender, paced, prepare, worker
from bench.place import Place, place

RUN_SECONDS = 1_000_000
PATIENCE_SECONDS = 300.0
VISIBILITY_SECONDS = 60
LOOK_SECONDS = 0.1
# For so long ours waits for others that are due in a moment (POLL_MIN_SECONDS), but for what it
# takes to see that one is due.
WITHIN_SECONDS = 4.0


@dataclass(frozen=True, slots=True)
class Gap:
    """How long nobody polled.

    Attributes:
        by: whose worker was killed.
        exports: how many were under way.
        interval: seconds after which each is to be looked at again.
        visibility_seconds: of the textbook's messages; None for ours, which has no use for it.
        first_seconds: from the kill to the first look at a job, of each round.
        all_seconds: from the kill until each job was looked at again, of each round.
        others_cores: how many cores others on this machine had meanwhile.
    """

    by: str
    exports: int
    interval: float
    visibility_seconds: int | None
    first_seconds: list[float]
    all_seconds: list[float]
    others_cores: float


def measured(contender: Contender, exports: int, *, interval: float, rounds: int) -> Gap:
    """Measure so many deaths, one after the other."""
    emulated = ["--jobs", f"{exports}", "--run-seconds", f"{RUN_SECONDS}"]
    environment = paced(interval) | {"VISIBILITY_TIMEOUT_SECONDS": f"{VISIBILITY_SECONDS}"}
    random, firsts, alls = Random(1), list[float](), list[float]()
    with place(emulated) as where:
        prepare(where)
        contender.put(where, range(exports), [random.uniform(0, interval) for _ in range(exports)])
        before = meter.reading(where, os.getpid())
        for _ in range(rounds):
            with worker(where, contender, environment) as pid:
                meter.wait_until(
                    lambda: where.number(contender.unseen) == 0,
                    seconds=PATIENCE_SECONDS,
                    what="a look at each",
                )
                meter.wait_until(
                    lambda: where.number(contender.due) > 0, seconds=PATIENCE_SECONDS, what="a job"
                )
                time.sleep(random.uniform(0, WITHIN_SECONDS))
                _kill(pid)
            killed = time.monotonic()
            _forget_looks(where, contender)
            with worker(where, contender, environment):
                firsts.append(_until(where, contender.unseen, below=exports, since=killed))
                alls.append(_until(where, contender.unseen, below=1, since=killed))
        others = meter.reading(where, os.getpid()).since(before)["others_cores"]
    is_ours = contender.name == "ours"
    return Gap(
        by=contender.name,
        exports=exports,
        interval=interval,
        visibility_seconds=None if is_ours else VISIBILITY_SECONDS,
        first_seconds=firsts,
        all_seconds=alls,
        others_cores=others,
    )


def _kill(pid: int) -> None:
    """Kill a worker, and all that came from it."""
    for each in meter.tree(pid):
        with suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)


def _forget_looks(where: Place, contender: Contender) -> None:
    """Have no export be looked at as far as its row says."""
    with where.engine.begin() as connection:
        connection.execute(text(f"UPDATE {contender.table} SET polls = 0"))  # noqa: S608  (ours)


def _until(where: Place, left: str, *, below: int, since: float) -> float:
    """Return how many seconds after `since` the query gave less than that."""
    end = time.monotonic() + PATIENCE_SECONDS
    while where.number(left) >= below:
        if time.monotonic() > end:
            raise TimeoutError(f"polling did not go on within {PATIENCE_SECONDS:g} s")
        time.sleep(LOOK_SECONDS)
    return time.monotonic() - since


@click.command()
@click.option("--exports", default=1000, show_default=True)
@click.option("--by", multiple=True, default=("ours", "textbook"), show_default=True)
@click.option("--interval", default=20.0, show_default=True, help="Seconds between two looks.")
@click.option("--rounds", default=3, show_default=True)
def main(exports: int, by: tuple[str, ...], interval: float, rounds: int) -> None:
    """Print a JSON line for each worker."""
    for whose in by:
        gap = measured(CONTENDERS[whose], exports, interval=interval, rounds=rounds)
        click.echo(json.dumps(asdict(gap)))


if __name__ == "__main__":
    main()
