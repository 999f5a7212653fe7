"""Meter: what processes and services have used, as Linux, Redis and PostgreSQL tell it."""

import os
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import redis

from bench.place import Place
from tests import waiting

TICKS = os.sysconf("SC_CLK_TCK")
# Seldom enough that it costs nothing.
wait_until = partial(waiting.wait_until, every=0.5)
# /proc/stat's times that are spent on work: all but idle and iowait (proc(5)).
BUSY = (0, 1, 2, 5, 6, 7)

_PARENT, _TIMES = 1, slice(11, 15)


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the third on, which is the state."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def tree(pid: int) -> list[int]:
    """Return the process and all that come from it and live."""
    children = defaultdict[int, list[int]](list)
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            children[int(_stat(int(path.name))[_PARENT])].append(int(path.name))
    found = [pid]
    for each in found:  # grows as it is walked
        found += children[each]
    return found


def cpu_seconds(pid: int) -> float:
    """Return what a process and all that come from it have used, those that have ended too."""
    total = 0
    for each in tree(pid):
        with suppress(OSError):
            total += sum(int(field) for field in _stat(each)[_TIMES])
    return total / TICKS


def peak_mib(pid: int) -> float:
    """Return the most memory that the processes of a tree have held (VmHWM of proc(5)), summed."""
    total = 0
    for each in tree(pid):
        with suppress(OSError):
            for line in Path(f"/proc/{each}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    total += int(line.split()[1])
    return total / 1024


def busy_seconds() -> float:
    """Return what all cores of this machine have worked since it started."""
    times = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    return sum(int(times[n]) for n in BUSY) / TICKS


@dataclass(frozen=True, slots=True)
class Reading:
    """What was used until now.

    Attributes:
        at: when, in seconds of the monotonic clock.
        calls: made to Uplynk's API; files are none.
        cpu_seconds: of the worker, and all that come from it.
        statements: that PostgreSQL ran.
        transactions: that it committed.
        others_cpu_seconds: of all on this machine that is none of ours.
    """

    at: float
    calls: int
    cpu_seconds: float
    statements: int
    transactions: int
    others_cpu_seconds: float

    def since(self, before: "Reading") -> dict[str, float]:
        """Return what was used since then, by name; `others` as a number of cores."""
        seconds = self.at - before.at
        return {
            "seconds": seconds,
            "calls": self.calls - before.calls,
            "cpu_seconds": self.cpu_seconds - before.cpu_seconds,
            "statements": self.statements - before.statements,
            "transactions": self.transactions - before.transactions,
            "others_cores": max(self.others_cpu_seconds - before.others_cpu_seconds, 0) / seconds,
        }


def reading(where: Place, pid: int) -> Reading:
    """Read all of it, for the worker with this process id."""
    return Reading(
        at=time.monotonic(),
        # those of the API have a room before their name: jobs/list; files have none
        calls=sum(n for call, n in where.control.calls()["calls"].items() if "/" in call),
        cpu_seconds=cpu_seconds(pid),
        statements=where.number(
            "SELECT sum(calls) FROM pg_stat_statements s"
            " JOIN pg_database d ON d.oid = s.dbid WHERE d.datname = current_database()"
        ),
        transactions=where.number(
            "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
        ),
        others_cpu_seconds=busy_seconds() - cpu_seconds(os.getpid()),
    )


def redis_data_kib(where: Place) -> float:
    """Return what Redis holds for its data, what its clients have it keep included."""
    with redis.Redis.from_url(where.redis_url) as client:
        return float(client.info("memory")["used_memory_dataset"]) / 1024


def redis_keys_kib(where: Place) -> float:
    """Return what the keys take that Redis holds, each as a whole (MEMORY USAGE)."""
    with redis.Redis.from_url(where.redis_url) as client:
        sizes = [client.memory_usage(key, samples=0) or 0 for key in client.scan_iter(count=1000)]
    return sum(sizes) / 1024
