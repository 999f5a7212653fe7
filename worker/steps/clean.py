"""Clean: jobs that have served go off Uplynk's list, and records that are old go for good."""

from sqlalchemy.orm import Session

from worker.steps import disposal, pruning
from worker.steps.kit import Kit
from worker.steps.report import Report, Step, Wake


def wakes(kit: Kit, session: Session) -> tuple[Wake, ...]:
    """Return what wakes this step: at once if there is something to do, or when there will be."""
    if pruning.is_due(kit, session):
        return (Wake(Step.CLEAN),)
    due_at = disposal.next_due(kit, session)
    if due_at is None:
        return ()
    return (Wake(Step.CLEAN, at=due_at if due_at > kit.now() else None),)


def clean(kit: Kit) -> Report:
    """Delete the jobs whose time has come and the records that are old enough, some at a time."""
    deleted, jobs_due_at = disposal.dispose(kit)
    pruned, has_more = pruning.prune(kit)
    facts = ({"jobs": deleted} if deleted else {}) | pruned
    if has_more:
        return Report(facts, (Wake(Step.CLEAN, goes_on=True),))
    return Report(facts, (Wake(Step.CLEAN, at=jobs_due_at),) if jobs_due_at else ())
