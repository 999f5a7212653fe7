"""Sweep: whatever is overdue is woken again; no message has to arrive for it to happen."""

from contextlib import suppress

from sqlalchemy import select

from models import Export, State, claims
from models.state import TERMINAL
from worker.steps.clean import wakes as cleaning
from worker.steps.kit import Kit
from worker.steps.notify import waking as telling
from worker.steps.report import Report, Step, Wake
from worker.transfer.parts import exports_in, remove_abandoned

# So many downloads are woken by one sweep; each that ends wakes another.
MOST_DOWNLOADS = 8


def sweep(kit: Kit) -> Report:
    """Return the wake-ups for all that is due and free, and for when the next is due.

    Part files of exports that have ended are removed from this machine's scratch folder.
    """
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
        )
        claimed = claims.next_due(session, State.DOWNLOADING, account=account)
        captions = claims.next_captions_due(session, account=account)
        kit.governor.watch(session)
        to_clean, to_tell = cleaning(kit, session), telling(kit, session)
    _tidy(kit)
    wakes += [Wake(Step.DOWNLOAD, export_id) for export_id in downloads]
    # one that waits for its next try, or whose taker died
    if claimed is not None and claimed > now:
        wakes.append(Wake(Step.SWEEP, at=claimed))
    if captions is not None:
        wakes.append(Wake(Step.CAPTIONS, at=captions if captions > now else None))
    wakes += to_clean
    wakes += to_tell
    woken = [str(wake.step) for wake in wakes if wake.at is None]
    return Report({"woken": woken}, tuple(wakes))


def _tidy(kit: Kit) -> None:
    """Remove the parts that nobody writes to and nobody will go on with.

    They are left where a worker was killed, and its export ended in another way.
    """
    folder = kit.settings.scratch_dir
    with suppress(OSError):  # they cost room, and nothing else
        left = exports_in(folder)
        if not left:
            return
        with kit.sessions.begin() as session:
            ended = select(Export.id).where(Export.id.in_(left), Export.state.in_(TERMINAL))
            useless = session.scalars(ended).all()
        for export_id in useless:
            remove_abandoned(folder, export_id)
