"""Waiting: what exports cost that are under way at Uplynk, ours beside a textbook's.

`python -m bench.waiting` starts Redis, PostgreSQL, the emulator and a worker (threads, four), puts
so many exports under way, waits until each was looked at, and measures over the next cycles.
Ours serves the queue `exports` only, as the worker for the short steps does in docker-compose.yml.
Both look at each job once in `--interval` seconds; ours up to POLL_MIN_SECONDS (5) later, so that
jobs which are due one after the other are looked at together, or earlier with others on a page.

What Redis holds is told beside what it holds for the same worker with few exports under way: that
leaves out the connections, which it has all the same.
"""

import json
import time
from dataclasses import asdict, dataclass
from random import Random

import click

from bench import meter
from bench.contenders import CONTENDERS, Contender, paced, prepare, worker
from bench.place import Place, place

# So many are under way for a worker that is as good as idle: enough for it to read the list.
FEW = 20
SETTLE_SECONDS = 10.0
# A look at each takes ours a moment; the textbook's may fall behind its interval.
PATIENCE_SECONDS = 900.0
LOOKS_A_CYCLE = 4
RUN_SECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Cost:
    """What it cost, over all cycles.

    Attributes:
        by: whose it is.
        exports: how many were under way.
        interval: seconds after which each was to be looked at again.
        cycles: how many such intervals it was measured for.
        seconds: how long that was.
        looks: how often a job was looked at.
        calls: made to Uplynk's API.
        cpu_seconds: of the worker, and all that come from it.
        statements: that PostgreSQL ran.
        transactions: that it committed.
        peak_mib: the most memory that the worker ever held.
        redis_kib: what Redis holds more than with few exports under way.
        redis_keys_kib: what its keys take, at their most.
        others_cores: how many cores others on this machine had meanwhile.
    """

    by: str
    exports: int
    interval: float
    cycles: int
    seconds: float
    looks: int
    calls: float
    cpu_seconds: float
    statements: float
    transactions: float
    peak_mib: float
    redis_kib: float
    redis_keys_kib: float
    others_cores: float


def measured(contender: Contender, exports: int, *, interval: float, cycles: int) -> Cost:
    """Measure one worker with so many exports under way."""
    emulated = ["--jobs", str(exports), "--run-seconds", str(RUN_SECONDS)]
    with place(emulated) as where:
        prepare(where)
        with worker(where, contender, paced(interval), only_waits=True) as pid:
            # the newest, as the list has them first
            _looked_at(where, contender, range(exports - FEW, exports), interval=0.0)
            time.sleep(SETTLE_SECONDS)
            idle_kib = meter.redis_data_kib(where)
            _looked_at(where, contender, range(exports - FEW), interval=interval)
            looks, before = where.number(contender.looks), meter.reading(where, pid)
            held = [_held(where, interval / LOOKS_A_CYCLE) for _ in range(cycles * LOOKS_A_CYCLE)]
            looked, after = where.number(contender.looks) - looks, meter.reading(where, pid)
            peak = meter.peak_mib(pid)
    data, keys = map(max, zip(*held, strict=True))
    return Cost(
        by=contender.name,
        exports=exports,
        interval=interval,
        cycles=cycles,
        looks=looked,
        peak_mib=peak,
        redis_kib=data - idle_kib,
        redis_keys_kib=keys,
        **after.since(before),
    )


def _looked_at(where: Place, contender: Contender, numbers: range, *, interval: float) -> None:
    """Put exports under way, and wait until each was looked at."""
    random = Random(1)
    contender.put(where, numbers, [random.uniform(0, interval) for _ in numbers])
    meter.wait_until(
        lambda: where.number(contender.unseen) == 0,
        seconds=PATIENCE_SECONDS,
        what="a look at each",
    )


def _held(where: Place, seconds: float) -> tuple[float, float]:
    """Wait so long; return what Redis holds then for its data, and for its keys alone (KiB)."""
    time.sleep(seconds)
    return meter.redis_data_kib(where), meter.redis_keys_kib(where)


@click.command()
@click.option("--exports", multiple=True, type=int, default=(1000, 10_000), show_default=True)
@click.option("--by", multiple=True, default=("ours", "textbook"), show_default=True)
@click.option("--interval", default=60.0, show_default=True, help="Seconds between two looks.")
@click.option("--cycles", default=3, show_default=True)
def main(exports: tuple[int, ...], by: tuple[str, ...], interval: float, cycles: int) -> None:
    """Print a JSON line for each worker and number of exports."""
    for number in exports:
        for whose in by:
            cost = measured(CONTENDERS[whose], number, interval=interval, cycles=cycles)
            click.echo(json.dumps(asdict(cost)))


if __name__ == "__main__":
    main()
