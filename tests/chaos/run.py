"""Run: one storm from its seed to its verdict."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType

from tests.chaos import calm, invariants, leftovers, schedule, wishes
from tests.chaos.calm import Calm
from tests.chaos.database import Change
from tests.chaos.fleet import POSTS, Post
from tests.chaos.invariants import Violation, Violations
from tests.chaos.recovery import Recovery, Span, recoveries
from tests.chaos.remains import Records, Remains, Truth
from tests.chaos.schedule import FAMILIES, Event
from tests.chaos.sender import Sender
from tests.chaos.storm import Storm, Strike
from tests.chaos.world import World, opened_world
from tests.waiting import wait_until

INVARIANTS: Mapping[str, Callable[[Remains], Violations]] = MappingProxyType(
    {
        each.__name__.replace("_", " "): each
        for each in (
            invariants.every_request_is_on_record,
            invariants.no_message_vanished,
            invariants.every_request_got_what_it_asked_for,
            invariants.everything_has_ended,
            invariants.ends_are_justified,
            invariants.stored_files_are_true,
            invariants.captions_are_true,
            invariants.each_export_is_paid_for_once,
            invariants.histories_are_paths,
            invariants.every_end_was_told,
            invariants.no_event_is_told_as_two,
            leftovers.no_scratch_file_is_left,
            leftovers.storage_holds_what_is_stored,
            leftovers.no_message_is_left,
            leftovers.connections_are_few,
            leftovers.no_connection_is_left,
            leftovers.no_process_is_left,
            leftovers.workers_end_in_time,
            leftovers.no_worker_ends_unasked,
        )
    }
)

# What was put off in the storm is tried again after five minutes at the latest (pace.RETRY_CAP).
LEAST_BOUND_SECONDS = 90.0
MOST_BOUND_SECONDS = 420.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a storm was like, and what became of it.

    Attributes:
        seed: from which all was drawn.
        seconds: how long it raged.
        events: its schedule.
        strikes: what came of it, and when.
        calm: what happened until everything had ended.
        remains: what there was then.
        violations: by the invariant's name; no key is missing.
        recoveries: of what killed workers had held.
        audit: each change of an export.
        took: seconds from the storm's begin until the end of all.
    """

    seed: int
    seconds: float
    events: Sequence[Event]
    strikes: Sequence[Strike]
    calm: Calm
    remains: Remains
    violations: Mapping[str, Sequence[Violation]]
    recoveries: Sequence[Recovery]
    audit: Sequence[Change]
    took: float

    @property
    def is_good(self) -> bool:
        """Whether every invariant holds."""
        return not any(self.violations.values())


def run(
    seed: int,
    *,
    exports: int,
    seconds: float,
    folder: Path,
    posts: Sequence[Post] = POSTS,
    families: Collection[str] = FAMILIES.keys(),
) -> Verdict:
    """Let a storm come over a world in `folder` (which is there, and empty); returns the verdict.

    Args:
        seed: from which all is drawn.
        exports: how many requests are sent.
        seconds: how long the storm rages.
        folder: where files and logs are; the caller removes it.
        posts: the workers.
        families: what befalls them: names of `schedule.FAMILIES`.
    """
    asked = wishes.draw(seed, count=exports, seconds=seconds)
    planned = schedule.draw(seed, seconds=seconds, posts=posts, families=families)
    begin = time.monotonic()
    with opened_world(folder, asked, posts) as world:
        world.fleet.staff_all()
        wait_until(world.fleet.are_ready, seconds=60, what="a fleet at work")
        storm = Storm(world, planned)
        with Sender(asked, world.broker.url, world.receiver.url) as sender:
            storm.run(seconds)
            bound = min(max(LEAST_BOUND_SECONDS, 3 * seconds), MOST_BOUND_SECONDS)
            peace = calm.come(world, sender, bound_seconds=bound)
        remains = _remains(world, asked, peace)
        audit = world.database.audit()
        return Verdict(
            seed=seed,
            seconds=seconds,
            events=planned,
            strikes=storm.strikes,
            calm=peace,
            remains=remains,
            violations={name: list(check(remains)) for name, check in INVARIANTS.items()},
            recoveries=recoveries(audit, world.fleet.kills, outages=_outages(storm.strikes)),
            audit=audit,
            took=time.monotonic() - begin,
        )


def _remains(world: World, asked: Sequence[wishes.Wish], peace: Calm) -> Remains:
    leavings = calm.leave(world)
    jobs = world.emulator.control.jobs()
    records = Records.read(world.sessions)
    wanted = {export.job_id for export in records.exports if export.sha256}
    media = {
        job["id"]: world.emulator.control.media(job["id"]) for job in jobs if job["id"] in wanted
    }
    return Remains(
        wishes=asked,
        records=records,
        truth=Truth(jobs, media, list(world.faults.values())),
        told=world.receiver.events,
        storage=world.storage,
        scratch=world.scratch,
        vanished=peace.resent["vanished"],
        leavings=leavings,
    )


def _outages(strikes: Sequence[Strike]) -> list[Span]:
    """Return when the broker or the database was away, or had to be found again."""
    kinds = FAMILIES["broker"].kinds.keys() | FAMILIES["database"].kinds.keys()
    return [
        (strike.at, strike.at + timedelta(seconds=strike.event.seconds))
        for strike in strikes
        if strike.event.kind in kinds and strike.has_struck
    ]
