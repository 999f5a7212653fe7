"""Invariants: what must be true of every export after any storm.

Each is a function of what remains; it gives a sentence for each violation, with the export that it
is about if there is one. Those about what is left behind stand in `leftovers`.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from uuid import UUID

from models import Audio, Captions, Export, State
from models.state import TERMINAL, TRANSITIONS
from tests.chaos.misbehaviour import CAPTIONS
from tests.chaos.remains import Remains, file_of, sha256, true_captions
from tests.chaos.wishes import Fate

# A request that was under way when a fault was taken away may still be struck by it.
MOST_DELAY = timedelta(seconds=15)


@dataclass(frozen=True, slots=True)
class Violation:
    """That something is not as it must be."""

    message: str
    export_id: UUID | None = None


Violations = Iterator[Violation]


def every_request_is_on_record(remains: Remains) -> Violations:
    """Each wish that was sent is a request."""
    for wish in remains.wishes:
        request = remains.records.requests.get(wish.request_id)
        if request is None:
            yield Violation(f"request {wish.request_id} is not on record")
        elif request.export is None:
            yield Violation(f"request {wish.request_id} has no export: {request.error_message}")


def no_message_vanished(remains: Remains) -> Violations:
    """A message that the broker took and kept is on record without being sent again."""
    for request_id in remains.vanished:
        yield Violation(f"the message of request {request_id} is gone, and nothing excuses it")


def every_request_got_what_it_asked_for(remains: Remains) -> Violations:
    """A request's export is one of its asset and codec, and no less urgent."""
    for wish in remains.wishes:
        request = remains.records.requests.get(wish.request_id)
        if request is None or (export := request.export) is None:
            continue
        audio = Audio.AAC_LC if wish.aaclc else Audio.HE_AAC
        if (export.asset, export.audio) != (wish.asset.id, audio):
            yield Violation(
                f"request {request.id} wants {wish.asset.id} in {audio}, and was given"
                f" {export.asset} in {export.audio}",
                export.id,
            )
        if export.priority < wish.priority:
            yield Violation(f"request {request.id} is more urgent than its export", export.id)


def everything_has_ended(remains: Remains) -> Violations:
    """No export is under way any more, claimed or due."""
    for export in remains.records.exports:
        if export.state not in TERMINAL:
            yield Violation(f"export {export.id} is {export.state}", export.id)
        if export.claim is not None or export.claimed_until is not None:
            yield Violation(f"export {export.id} is {export.state} and claimed", export.id)
        elif export.due_at is not None and export.state in TERMINAL:
            yield Violation(f"export {export.id} is {export.state} and due", export.id)


def stored_files_are_true(remains: Remains) -> Violations:
    """Each stored file is there, and is the file that Uplynk made, byte for byte."""
    for export in _stored(remains):
        if (path := file_of(export.storage_url)) is None:
            yield Violation(f"export {export.id} is stored, and its file is not there", export.id)
            continue
        true = remains.truth.media.get(str(export.job_id), {})
        found = {"sha256": sha256(path), "size_bytes": path.stat().st_size}
        said = {"sha256": export.sha256, "size_bytes": export.size_bytes}
        for name, value in found.items():
            if not value == said[name] == true.get(name):
                yield Violation(
                    f"the {name} of export {export.id}: its file's is {value}, its row's"
                    f" {said[name]}, Uplynk's {true.get(name)}",
                    export.id,
                )


def captions_are_true(remains: Remains) -> Violations:
    """Captions are stored as Uplynk has them; `unknown` only where its answer was struck."""
    for export in _stored(remains):
        asset = remains.asset(export.asset)
        true = true_captions(asset) if asset else None
        path = file_of(export.captions_url)
        if export.captions is Captions.UNKNOWN:
            if not _was_struck(remains, export):
                yield Violation(f"the captions of export {export.id} are unknown", export.id)
        elif export.captions is not (Captions.ABSENT if true is None else Captions.PRESENT):
            yield Violation(f"the captions of {export.id} are {export.captions}", export.id)
        elif true is not None and (path is None or path.read_bytes() != true):
            yield Violation(f"the captions of export {export.id} are not Uplynk's", export.id)


def _was_struck(remains: Remains, export: Export) -> bool:
    """Return whether a fault was about that may have struck this export's captions."""
    times = [row.at for row in remains.records.history.get(export.id, ())]
    return any(
        struck.call == CAPTIONS
        and struck.begin <= times[-1]
        and (struck.end is None or times[0] - MOST_DELAY <= struck.end)
        for struck in remains.truth.struck
        if times
    )


def ends_are_justified(remains: Remains) -> Violations:
    """An export ended as its asset demands: a file, or the failure that is Uplynk's last word."""
    for export in remains.records.exports:
        asset = remains.asset(export.asset)
        if export.state not in TERMINAL or asset is None:
            continue
        demanded = {
            Fate.MISSING: (State.FAILED, "uplynk_not_found"),
            Fate.FAILS: (State.FAILED, "export_error"),
        }.get(asset.fate, (State.STORED, None))
        if (export.state, export.error_code) != demanded:
            yield Violation(
                f"export {export.id} of an asset that is {asset.fate} ended {export.state}"
                f" ({export.error_code}: {export.error_message})",
                export.id,
            )


def each_export_is_paid_for_once(remains: Remains) -> Violations:
    """Uplynk made one job for each export that has one, and no other."""
    exports = {str(each.job_id): each for each in remains.records.exports if each.job_id}
    jobs = {str(job["id"]): job for job in remains.truth.jobs}
    for job_id in exports.keys() - jobs.keys():
        export = exports[job_id]
        yield Violation(f"export {export.id} has job {job_id}, which Uplynk never made", export.id)
    wanted = Counter((each.asset, each.audio) for each in exports.values())
    made = Counter((str(job["asset"]), _audio(job)) for job in jobs.values())
    for job_id in jobs.keys() - exports.keys():
        asset, audio = str(jobs[job_id]["asset"]), _audio(jobs[job_id])
        yield Violation(
            f"job {job_id} of {asset} in {audio} was paid for, and is no export's;"
            f" there are {made[asset, audio]} jobs for {wanted[asset, audio]} exports",
            _export_of(remains, asset, audio),
        )
    for job_id in jobs.keys() & exports.keys():
        export, job = exports[job_id], jobs[job_id]
        if (export.asset, export.audio) != (job["asset"], _audio(job)):
            yield Violation(f"export {export.id} has a job of another asset or codec", export.id)


def _audio(job: object) -> Audio:
    arguments = job["args"]  # type: ignore[index]  # JSON
    return Audio.AAC_LC if arguments.get("aaclc") else Audio.HE_AAC


def _export_of(remains: Remains, asset: str, audio: Audio) -> UUID | None:
    exports = remains.records.exports
    return next((e.id for e in exports if (e.asset, e.audio) == (asset, audio)), None)


def histories_are_paths(remains: Remains) -> Violations:
    """An export's history leads by the table to its state, and onward in time."""
    for export in remains.records.exports:
        rows = remains.records.history.get(export.id, ())
        if not rows or (rows[0].from_state, rows[0].to_state) != (None, State.REQUESTED):
            yield Violation(f"the history of export {export.id} has no beginning", export.id)
            continue
        for before, after in pairwise(rows):
            if after.from_state != before.to_state:
                yield Violation(
                    f"the history of export {export.id} leaps from {before.to_state} to"
                    f" {after.from_state}",
                    export.id,
                )
            elif after.to_state not in TRANSITIONS[before.to_state]:
                yield Violation(
                    f"no way leads export {export.id} from {before.to_state} to {after.to_state}",
                    export.id,
                )
            if after.at < before.at:
                yield Violation(f"the history of export {export.id} goes back in time", export.id)
        if rows[-1].to_state != export.state:
            yield Violation(f"the history of export {export.id} has another end", export.id)


def every_end_was_told(remains: Remains) -> Violations:
    """The CMS was told how each request ended, and at the last what is true of it now."""
    told = {str(event["data"]["request_id"]): event for event in remains.told}
    for request in remains.records.requests.values():
        if (export := request.export) is None or request.state not in TERMINAL:
            continue
        event = told.get(request.id)
        if event is None:
            yield Violation(f"nobody was told of the end of request {request.id}", export.id)
            continue
        data = event["data"]
        said = (event["type"], data["state"], data["storage_url"], data["sha256"])
        true = (f"export.{request.state}", request.state, export.storage_url, export.sha256)
        if said != true:
            yield Violation(f"of request {request.id} was told {said}; true is {true}", export.id)


def no_event_is_told_as_two(remains: Remains) -> Violations:
    """What was told twice bears the same id, by which the CMS drops it."""
    ids: dict[tuple[str, str], set[str]] = {}
    for event in remains.told:
        data = event["data"]
        ids.setdefault((data["request_id"], event["timestamp"]), set()).add(event["id"])
    for (request_id, at), several in ids.items():
        if len(several) > 1:
            yield Violation(f"of request {request_id} one end ({at}) was told as {len(several)}")


def _stored(remains: Remains) -> list[Export]:
    return [each for each in remains.records.exports if each.state is State.STORED]
