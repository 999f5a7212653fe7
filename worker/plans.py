"""Plans: what a list would come to, before anything is set down or paid for."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from models import Export, State, claims
from worker.batches import chunks, lately, time_left
from worker.inquiry import Inquiry
from worker.lists import Line
from worker.steps import Kit, bulk
from worker.steps.bulk import Batchful, Entry, Outcome

# What was stored last says what the next ones come to.
MOST_FILMS = 1000


@dataclass(frozen=True, slots=True)
class Experience:
    """What the films that were stored last came to.

    Attributes:
        films: how many they are.
        seconds: how long they last, together.
        size_bytes: how large they are.
        exporting_seconds: how long Uplynk took for one, on average.
        lately: how many were stored in the last hour, and since when the first of these was.
    """

    films: int = 0
    seconds: float = 0.0
    size_bytes: int = 0
    exporting_seconds: float | None = None
    lately: tuple[int, timedelta] = (0, timedelta())


@dataclass(slots=True)
class Plan:
    """What a list would come to; each number counts lines, each time is in seconds of film."""

    lines: int = 0
    wrong: int = 0
    repeated: int = 0
    clashing: int = 0
    known: int = 0
    shared: int = 0
    stored: int = 0
    missing: int = 0
    unready: int = 0
    to_export: int = 0
    protected: int = 0
    untold: int = 0
    seconds: float = 0.0
    experience: Experience = field(default_factory=Experience)

    @property
    def is_whole(self) -> bool:
        """Whether each line can be exported, or needs not."""
        return not (self.wrong or self.clashing or self.missing or self.unready)

    @property
    def size_bytes(self) -> int | None:
        """How large the files will be, about; None if that can't be told."""
        known = self.experience
        if not known.seconds or not known.size_bytes:
            return None
        return round(self._seconds_in_all * known.size_bytes / known.seconds)

    @property
    def time_at_the_pace(self) -> timedelta | None:
        """How long it takes at the rate of the last hour; None if nothing was stored in it."""
        return time_left(self.to_export, self.experience.lately)

    def least_time(self, most: int) -> timedelta | None:
        """Return how long Uplynk takes at least, with `most` at a time; None if unknown."""
        if self.experience.exporting_seconds is None:
            return None
        rounds = self.to_export / min(most, self.to_export or 1)
        return timedelta(seconds=rounds * self.experience.exporting_seconds)

    @property
    def _seconds_in_all(self) -> float:
        """How long the films last, those of unknown length being taken for average ones."""
        told = self.to_export - self.untold
        return self.seconds * self.to_export / told if told else 0.0

    def as_json(self) -> dict[str, object]:
        """Return it as JSON values."""
        values = asdict(self)
        number, since = self.experience.lately
        pace = self.time_at_the_pace
        values["experience"]["lately"] = {"films": number, "seconds": since.total_seconds()}
        values["size_bytes"] = self.size_bytes
        values["seconds_at_the_pace"] = None if pace is None else round(pace.total_seconds())
        return values


def planned(kit: Kit, where: Batchful, lines: Iterable[Line], plan: Plan) -> Iterator[Line]:
    """Fill the plan in; gives the lines with which something is wrong.

    Raises:
        Transient: Uplynk did not answer, several times.
        Permanent: Uplynk refuses whatever it is asked.
    """
    begun, inquiry = set[object](), Inquiry(kit)
    with kit.sessions.begin() as session:
        plan.experience = experience(session, kit)
    for some in chunks(lines):
        plan.lines += len(some)
        entries = [line.entry for line in some if line.entry and line.repeats is None]
        with kit.sessions.begin() as session:
            outcomes = bulk.look(session, where, entries)
        told = dict(zip((entry.request_id for entry in entries), outcomes, strict=True))
        new = []
        for line in some:
            if line.entry is None or line.repeats is not None:
                plan.wrong += line.entry is None
                plan.repeated += line.repeats is not None
                yield line
                continue
            outcome = told[line.entry.request_id]
            if outcome is Outcome.NEW and line.entry.key in begun:
                outcome = Outcome.SHARED
            if outcome in {Outcome.NEW, Outcome.SHARED, Outcome.STORED}:
                begun.add(line.entry.key)
            plan.clashing += outcome is Outcome.CLASH
            plan.known += outcome in {Outcome.KNOWN, Outcome.ELSEWHERE}
            plan.shared += outcome is Outcome.SHARED
            plan.stored += outcome is Outcome.STORED
            if outcome is Outcome.CLASH:
                yield line
            elif outcome is Outcome.NEW:
                new.append((line, line.entry))
        yield from _described(inquiry, new, plan)


def _described(inquiry: Inquiry, new: Sequence[tuple[Line, Entry]], plan: Plan) -> Iterator[Line]:
    """Count what would be exported, by what Uplynk says of the assets."""
    assets = inquiry.about(sorted({entry.wish.asset for _, entry in new}))
    for line, entry in new:
        asset = assets.get(entry.wish.asset)
        if asset is None:
            plan.missing += 1
            why = inquiry.refusals.get(entry.wish.asset, "Uplynk has it not")
            yield Line(line.number, wrong=f"asset {entry.wish.asset}: {why}")
        elif not asset.is_ready:
            plan.unready += 1
            yield Line(line.number, wrong=f"asset {asset.id} is not ready, but {asset.state}")
        else:
            plan.to_export += 1
            plan.protected += asset.is_protected
            plan.untold += asset.duration_seconds is None
            plan.seconds += asset.duration_seconds or 0.0


def experience(session: Session, kit: Kit) -> Experience:
    """Return what the films that were stored last came to."""
    account, now = kit.slicer.owner, kit.now()
    rows = session.execute(
        select(
            Export.duration_seconds,
            Export.size_bytes,
            Export.asked_at,
            Export.done_at,
        )
        .where(claims.in_state(State.STORED), Export.account == account)
        .order_by(Export.state_since.desc())
        .limit(MOST_FILMS)
    ).all()
    known = [(seconds, size) for seconds, size, _, _ in rows if seconds and size]
    took = [
        (done_at - asked_at).total_seconds()
        for _, _, asked_at, done_at in rows
        if asked_at and done_at and done_at > asked_at
    ]
    return Experience(
        films=len(rows),
        seconds=sum(seconds for seconds, _ in known),
        size_bytes=sum(size for _, size in known),
        exporting_seconds=sum(took) / len(took) if took else None,
        lately=lately(session, account, now=now),
    )
