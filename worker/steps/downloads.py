"""Downloads: one message has one file brought after the other, as long as that goes well."""

from datetime import timedelta
from uuid import UUID

from models import State
from worker.steps.download import NOT_DUE, download
from worker.steps.kit import Kit
from worker.steps.report import Report, Step, Wake

# After this no file is begun any more: other messages get their turn, CMSs are told of what is
# stored, and this is sent again.
MOST_TIME = timedelta(seconds=2)


def downloads(kit: Kit, export_id: UUID) -> Report:
    """Bring the most urgent file into storage, and then the next, until none is due.

    Many that are small need no message each. It ends as well where one could not be stored: what
    is wrong with it may be wrong with all of them, and their retries are apart in time. The facts
    are those of the last one that was due, if any was.
    """
    begun, took, stored, wakes = kit.now(), 0, 0, list[Wake]()
    facts = dict[str, object]()
    while True:
        report = download(kit, export_id)
        wakes += report.wakes
        if not took or report.facts.get("state") != NOT_DUE:
            facts = dict(report.facts)
        took += report.facts.get("state") != NOT_DUE
        stored += report.facts.get("state") == State.STORED
        if report.facts.get("state") == NOT_DUE or "error" in report.facts:
            break
        if kit.stopping() or kit.now() - begun >= MOST_TIME:
            wakes.append(Wake(Step.DOWNLOAD, export_id))
            break
    return Report({**facts, "stored": stored}, tuple(wakes), took=max(took, 1))
