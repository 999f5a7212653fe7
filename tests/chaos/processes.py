"""Processes, as Linux' /proc tells of them: whose child, in which session, at which ports."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Seen:
    """A process that lives: a zombie is none."""

    pid: int
    parent: int
    session: int
    command: str


def alive() -> Iterator[Seen]:
    """Give every process that lives."""
    for folder in PROC.glob("[0-9]*"):
        try:
            # the second field is a name in parentheses, and may hold some itself: proc(5)
            state, parent, _, session, *_ = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_text().replace("\0", " ").strip()
        except OSError:  # it ended meanwhile
            continue
        if state not in {"Z", "X"}:
            yield Seen(int(folder.name), int(parent), int(session), command)


def children(pid: int) -> list[int]:
    """Return the children of a process, in order."""
    return sorted(seen.pid for seen in alive() if seen.parent == pid)


def of_sessions(sessions: set[int]) -> list[Seen]:
    """Return the processes in these sessions; workers are each in one of their own."""
    return [seen for seen in alive() if seen.session in sessions]


def ports(pid: int) -> set[int]:
    """Return the local TCP ports of a process' sockets."""
    sockets = set()
    for descriptor in (PROC / str(pid) / "fd").glob("*"):
        try:
            sockets.add(descriptor.readlink().name)
        except OSError:
            continue
    lines = (PROC / "net/tcp").read_text().splitlines()[1:]
    # the fields: sl local_address rem_address st … inode: proc(5), proc_pid_net(5)
    fields = (line.split() for line in lines)
    return {
        int(each[1].partition(":")[2], 16) for each in fields if f"socket:[{each[9]}]" in sockets
    }
