"""Leftovers: the invariants about what must not be left behind after any storm."""

from collections import Counter

from models import State
from tests.chaos.database import STANDING
from tests.chaos.invariants import Violation, Violations
from tests.chaos.remains import Remains, file_of, files_under

# What SIGTERM promises, and what a machine with two cores and a storm on them is forgiven.
STOP_SECONDS = 10.0 + 2.0

# What a process keeps open: the pool of models.database.
MOST_CONNECTIONS = 5


def no_scratch_file_is_left(remains: Remains) -> Violations:
    """Nothing is left of any download."""
    for path in files_under(remains.scratch):
        yield Violation(f"a file is left in SCRATCH_DIR: {path.name}")


def storage_holds_what_is_stored(remains: Remains) -> Violations:
    """Storage shows the files of stored exports, and nothing half done."""
    known = set()
    for export in remains.records.exports:
        if export.state is State.STORED and (path := file_of(export.storage_url)):
            # captions may be there that a later download could not tell any more, and what came
            # instead of them while a fault was about
            known |= {path, path.with_suffix(".ttml"), path.with_suffix(".ttml.rejected")}
    for path in files_under(remains.storage):
        if path not in known:
            yield Violation(f"a file is in storage that no stored export has: {path.name}")


def no_message_is_left(remains: Remains) -> Violations:
    """The broker holds no message, neither waiting nor in anybody's hands."""
    for key, count in remains.leavings.messages.items():
        yield Violation(f"{count} messages are left under {key}")


def connections_are_few(remains: Remains) -> Violations:
    """Workers with nothing to do keep no more connections than their pools hold, none in a use."""
    idle = remains.leavings.idle
    if len(idle) > MOST_CONNECTIONS * remains.leavings.living:
        by_worker = dict(Counter(name for name, _ in idle))
        yield Violation(f"{len(idle)} connections of idle workers: {by_worker}")
    for name, state in idle:
        if state.startswith(STANDING):
            yield Violation(f"a connection of {name} is {state}")


def no_connection_is_left(remains: Remains) -> Violations:
    """No connection outlives the workers."""
    for name, state in remains.leavings.connections:
        yield Violation(f"a connection of {name} is left, {state}")


def no_process_is_left(remains: Remains) -> Violations:
    """No process outlives the workers."""
    for command in remains.leavings.processes:
        yield Violation(f"a process is left: {command}")


def workers_end_in_time(remains: Remains) -> Violations:
    """A worker that is asked to end does so, whatever it is at."""
    for name, seconds in remains.leavings.stops.items():
        if seconds > STOP_SECONDS:
            yield Violation(f"{name} took {seconds:.1f} s to end")


def no_worker_ends_unasked(remains: Remains) -> Violations:
    """Workers live through whatever their surroundings do."""
    for sentence in remains.leavings.deaths:
        yield Violation(sentence)
