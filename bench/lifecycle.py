"""Lifecycle: exports from the request to the stored file, ours beside a textbook's.

`python -m bench.lifecycle` starts Redis, PostgreSQL, the emulator and a worker of four (children,
Celery's default, or threads), sends so many requests at once, and measures until the last file is
stored; in turns, and more than once, since no two runs are alike. The emulator answers a call in
about a millisecond, as nothing does that is reached over the Internet; so it is measured as well
with each call to the API taking 50 ms longer, which is little for a way to another continent and
back (files come as before).

Both ask Uplynk for all of them at once (MAX_EXPORTING). The textbook's looks at each job every 5 s.
Ours looks at many together, as soon as a page of jobs is due that it saw POLL_MIN_SECONDS before;
with 2.5 s it sees a job's end no later. Near Uplynk both are measured with more looks as well:
ours with 1 s, the textbook's with 2. Jobs take 8 to 12 s: were it 10 for each, the looks at
just 10 s would find all of them done. Both ask for AAC-LC, since the emulator makes nothing else:
of each film whose sound is another than was asked for, ours writes a line to its log.

Ours does more for each: it keeps the request and each change of state on record, claims a step
before it acts, hashes the file, walks through its boxes, opens it and decodes its end, compares its
length with its asset's (a call to Uplynk for many), reads what comes as captions, and syncs all to
the disk before it says that the file is stored.
"""

import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import product
from random import Random
from statistics import mean
from tempfile import TemporaryDirectory

import click

from bench import meter
from bench.contenders import CONTENDERS, OURS, TEXTBOOK, Contender, prepare, worker
from bench.emulated import numbered
from bench.place import Place, place

EXPORTS, SIZE_BYTES = 500, 1_000_000
RUN_SECONDS = (8.0, 12.0)
# POLL_MIN_SECONDS of ours, and from one look at a job to the next of a textbook's: by the first of
# each ours sees a job's end no later; the others, more looks, are measured near Uplynk only.
LOOKS = {OURS.name: (2.5, 1.0), TEXTBOOK.name: (5.0, 2.0)}
MEDIA_SECONDS = 1.0
# Of so many rounds the middle one counts.
ROUNDS = 5
POOLS = ("prefork", "threads")
# How much longer than the emulator's answer a call to the API takes, in ms.
FAR_MS = (0, 50)
API_CALLS = ("jobs/create_export", "jobs/get", "jobs/list", "asset/get")
# These come first: a worker's first export takes what all others find there, and ours lets few be
# under way until it knows how fast files are brought.
WARM = 8
PATIENCE_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class Cost:
    """What it cost.

    Attributes:
        by: whose it is.
        pool: what its worker works with.
        far_ms: how much longer than the emulator takes a call to the API took.
        look_seconds: POLL_MIN_SECONDS of ours; from a look to the next of a textbook's.
        exports: how many.
        size_bytes: of each file.
        wall_seconds: from the first request to the last file that was stored.
        lag_seconds: from a job's end to the look that saw it, on average.
        worst_lag_seconds: the longest of these.
        seconds: how long the following was measured for.
        calls: made to Uplynk's API.
        cpu_seconds: of the worker, and all that come from it.
        statements: that PostgreSQL ran.
        transactions: that it committed.
        peak_mib: the most memory that the worker ever held.
        others_cores: how many cores others on this machine had meanwhile.
    """

    by: str
    pool: str
    far_ms: int
    look_seconds: float
    exports: int
    size_bytes: int
    wall_seconds: float
    lag_seconds: float
    worst_lag_seconds: float
    seconds: float
    calls: float
    cpu_seconds: float
    statements: float
    transactions: float
    peak_mib: float
    others_cores: float


@contextmanager
def films(exports: int, size_bytes: int) -> Iterator[list[str]]:
    """Make the films of so many assets beforehand; gives the emulator's options to find them."""
    with TemporaryDirectory() as folder:
        options = [
            *("--media-dir", folder, "--media-seconds", f"{MEDIA_SECONDS}"),
            *("--media-size-bytes", f"{size_bytes}"),
        ]
        done = ["--jobs", f"{exports + WARM}", "--aaclc", "--run-seconds", "0"]
        with place([*options, *done]) as where, ThreadPoolExecutor(2) as threads:
            jobs = map(numbered, range(exports + WARM))
            list(threads.map(where.control.media, jobs))
        yield options


def rounds(
    contenders: Sequence[Contender],
    exports: int,
    size_bytes: int,
    *,
    number: int = ROUNDS,
    pools: Sequence[str] = POOLS,
    far_ms: Sequence[int] = FAR_MS,
) -> Iterator[Cost]:
    """Measure each so often, so far from Uplynk, with each pool, in turns."""
    with films(exports, size_bytes) as emulated:
        for far, pool in product(far_ms, pools):
            most = 1 if far else None
            turn = [(each, looks) for each in contenders for looks in LOOKS[each.name][:most]]
            for contender, looks in number * turn:
                yield measured(
                    contender, pool, exports, size_bytes, emulated, far_ms=far, look_seconds=looks
                )


def measured(
    contender: Contender,
    pool: str,
    exports: int,
    size_bytes: int,
    emulated: Sequence[str],
    *,
    far_ms: int = 0,
    look_seconds: float,
) -> Cost:
    """Measure one worker with so many requests at once; `emulated` is what `films` gave."""
    environment = {
        "INTERVAL_SECONDS": f"{look_seconds}",
        "POLL_MIN_SECONDS": f"{look_seconds}",
        "MAX_EXPORTING": f"{exports}",
    }
    with place(emulated) as where:
        prepare(where)
        random = Random(1)
        for n in range(exports + WARM):
            where.control.asset(numbered(n), run_seconds=random.uniform(*RUN_SECONDS))
        with worker(where, contender, environment, pool=pool) as pid:
            _stored(where, contender, range(exports, exports + WARM), of=WARM)
            for call in API_CALLS if far_ms else ():
                where.control.fault(call, "delay", seconds=far_ms / 1000)
            before, begun = meter.reading(where, pid), time.time()
            _stored(where, contender, range(exports), of=exports + WARM)
            after = meter.reading(where, pid)
            peak = meter.peak_mib(pid)
        lags = _lags(where, contender)
        ended = max(where.seconds(contender.stored))
    return Cost(
        by=contender.name,
        pool=pool,
        far_ms=far_ms,
        look_seconds=look_seconds,
        exports=exports,
        size_bytes=size_bytes,
        wall_seconds=ended - begun,
        lag_seconds=mean(lags),
        worst_lag_seconds=max(lags),
        peak_mib=peak,
        **after.since(before),
    )


def _stored(where: Place, contender: Contender, numbers: range, *, of: int) -> None:
    """Ask for exports of these assets, and wait until `of` in all are stored."""
    contender.send(where, [numbered(n) for n in numbers])
    meter.wait_until(
        lambda: len(where.seconds(contender.stored)) >= of,
        seconds=PATIENCE_SECONDS,
        what="the last file in storage",
    )


def _lags(where: Place, contender: Contender) -> list[float]:
    """Return how many seconds went by between each job's end and the look that saw it."""
    jobs = sorted(where.control.jobs(), key=lambda job: str(job["id"]))
    found = where.seconds(contender.found)
    return [at - job["finished"] / 1000 for at, job in zip(found, jobs, strict=True)]


@click.command()
@click.option("--exports", default=EXPORTS, show_default=True)
@click.option("--size-bytes", default=SIZE_BYTES, show_default=True)
@click.option("--by", multiple=True, default=tuple(CONTENDERS), show_default=True)
@click.option("--pool", multiple=True, default=POOLS, show_default=True)
@click.option("--far-ms", multiple=True, type=int, default=FAR_MS, show_default=True)
@click.option("--rounds", "number", default=1, show_default=True)
def main(
    *,
    exports: int,
    size_bytes: int,
    by: tuple[str, ...],
    pool: tuple[str, ...],
    far_ms: tuple[int, ...],
    number: int,
) -> None:
    """Print a JSON line for each run."""
    contenders = [CONTENDERS[whose] for whose in by]
    for cost in rounds(contenders, exports, size_bytes, number=number, pools=pool, far_ms=far_ms):
        click.echo(json.dumps(asdict(cost)))


if __name__ == "__main__":
    main()
