"""Sweep: whatever is overdue is woken again; no message has to arrive for it to happen."""

from models import State, claims
from worker.steps.kit import Kit
from worker.steps.report import Report, Step, Wake

# So many downloads are woken by one sweep; each that ends wakes another.
MOST_DOWNLOADS = 8


def sweep(kit: Kit) -> Report:
    """Return the wake-ups for all that is due and free, and for when the next is due."""
    now, account = kit.now(), kit.slicer.owner
    wakes: list[Wake] = []
    with kit.sessions.begin() as session:
        for step, states in (
            (Step.SUBMIT, (State.SUBMITTING, State.REQUESTED)),
            (Step.POLL, (State.EXPORTING,)),
        ):
            if any(claims.due(session, s, now=now, limit=1, account=account) for s in states):
                wakes.append(Wake(step))
            times = [claims.next_due(session, state, account=account) for state in states]
            wakes += [Wake(step, at=time) for time in times if time is not None and time > now]
        downloads = claims.due(
            session,
            State.DOWNLOADING,
            now=now,
            limit=MOST_DOWNLOADS,
            account=account,
            by_priority=True,
        )
        claimed = claims.next_due(session, State.DOWNLOADING, account=account)
    wakes += [Wake(Step.DOWNLOAD, export_id) for export_id in downloads]
    if (
        claimed is not None and claimed > now
    ):  # one that waits for its next try, or whose taker died
        wakes.append(Wake(Step.SWEEP, at=claimed))
    woken = [str(wake.step) for wake in wakes if wake.at is None]
    return Report({"woken": woken}, tuple(wakes))
