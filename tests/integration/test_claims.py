"""Claims: what is due is taken, held, renewed and given back."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy.orm import Session, sessionmaker

from models import Export, State, claims
from models.state import UNDER_WAY
from tests.factories import ACCOUNT, make_export

Sessions = sessionmaker[Session]

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
UNTIL = NOW + timedelta(minutes=2)
EARLIER = NOW - timedelta(minutes=1)


def take(
    sessions: Sessions,
    state: State = State.EXPORTING,
    *,
    now: datetime = NOW,
    until: datetime = UNTIL,
    limit: int = 1,
) -> list[Export]:
    """Take what is due in a transaction of its own."""
    with sessions.begin() as session:
        return claims.take(session, state, now=now, until=until, limit=limit)


def claimed(sessions: Sessions, export_id: UUID) -> list[UUID]:
    """Claim this export, if it is due; return its id."""
    statement = claims.loading(claims.claiming(State.EXPORTING)[0])
    values = {"these": [export_id], "now": NOW, "until": UNTIL, "token": uuid4()}
    with sessions.begin() as session:
        return [export.id for export in session.scalars(statement, values)]


def is_held(sessions: Sessions, export_id: UUID, claim: UUID | None) -> bool:
    with sessions.begin() as session:
        return claims.held(session, export_id, claim) is not None


def is_renewed(sessions: Sessions, export: Export, until: datetime) -> bool:
    assert export.claim is not None
    with sessions.begin() as session:
        return claims.renew(
            session, export.id, export.claim, until=until, bytes_done=5, bytes_total=9
        )


def stored(sessions: Sessions, export_id: UUID) -> Export:
    with sessions.begin() as session:
        return session.get_one(Export, export_id)


def test_what_is_taken_bears_a_claim_and_is_due_when_it_runs_out(sessions: Sessions) -> None:
    made = make_export(sessions, state=State.EXPORTING, due_at=NOW)
    [taken] = take(sessions)
    assert taken.id == made.id
    assert taken.claim is not None
    kept = stored(sessions, made.id)
    assert (kept.claim, kept.claimed_until, kept.due_at) == (taken.claim, UNTIL, UNTIL)


def test_what_is_taken_is_not_taken_again(sessions: Sessions) -> None:
    make_export(sessions, state=State.EXPORTING, due_at=NOW)
    assert len(take(sessions)) == 1
    assert take(sessions) == []


def test_what_is_due_later_or_in_another_state_is_not_taken(sessions: Sessions) -> None:
    make_export(sessions, state=State.EXPORTING, due_at=NOW + timedelta(microseconds=1))
    make_export(sessions, state=State.DOWNLOADING, due_at=NOW)
    make_export(sessions, state=State.STORED, due_at=None)
    assert take(sessions, limit=9) == []


@pytest.mark.parametrize("state", sorted(UNDER_WAY))
def test_every_state_under_way_can_be_taken(sessions: Sessions, state: State) -> None:
    made = make_export(sessions, state=state, due_at=NOW)
    assert [export.id for export in take(sessions, state)] == [made.id]


def test_the_earliest_due_is_taken_first(sessions: Sessions) -> None:
    make_export(sessions, state=State.EXPORTING, due_at=NOW, priority=9)
    early = make_export(sessions, state=State.EXPORTING, due_at=EARLIER)
    assert [export.id for export in take(sessions)] == [early.id]


def test_of_downloads_the_most_urgent_is_taken_first_and_then_the_one_done_first(
    sessions: Sessions,
) -> None:
    def finished(hours: int, **members: Any) -> Export:
        done = NOW - timedelta(hours=hours)
        return make_export(sessions, state=State.DOWNLOADING, done_at=done, due_at=NOW, **members)

    low = finished(60, priority=-5)
    late, early = finished(1, priority=5), finished(2, priority=5)
    # what its worker left behind, when it died, is no later for that
    died = finished(3, priority=5, claim=uuid4(), claimed_until=NOW)
    with sessions.begin() as session:
        order = claims.due(session, State.DOWNLOADING, now=NOW, limit=9)
        assert claims.oldest_done(session, account=ACCOUNT) == low.done_at
    assert order == [died.id, early.id, late.id, low.id]
    for expected in order:
        [taken] = take(sessions, State.DOWNLOADING)
        assert taken.id == expected


def test_no_more_is_taken_than_was_asked_for_and_all_share_a_claim(sessions: Sessions) -> None:
    for _ in range(5):
        make_export(sessions, state=State.EXPORTING, due_at=NOW)
    first, second = take(sessions, limit=3), take(sessions, limit=3)
    assert (len(first), len(second)) == (3, 2)
    assert len({export.claim for export in first}) == 1
    assert {export.claim for export in first}.isdisjoint({export.claim for export in second})
    assert not {export.id for export in first} & {export.id for export in second}


def test_one_export_is_taken_or_none(sessions: Sessions) -> None:
    make_export(sessions, state=State.EXPORTING, due_at=EARLIER, priority=9)
    wanted = make_export(sessions, state=State.EXPORTING, due_at=NOW)
    for expected in ([wanted.id], []):
        assert claimed(sessions, wanted.id) == expected
    assert claimed(sessions, uuid4()) == []


def test_a_claim_that_ran_out_is_taken_over(sessions: Sessions) -> None:
    make_export(sessions, state=State.EXPORTING, due_at=NOW)
    [old] = take(sessions)
    assert take(sessions, now=UNTIL - timedelta(microseconds=1)) == []
    [new] = take(sessions, now=UNTIL, until=UNTIL + timedelta(minutes=2))
    assert (new.id, new.claim != old.claim) == (old.id, True)
    assert not is_held(sessions, old.id, old.claim)
    assert not is_renewed(sessions, old, UNTIL + timedelta(hours=1))
    assert is_held(sessions, new.id, new.claim)
    kept = stored(sessions, new.id)
    assert (kept.claim, kept.due_at, kept.bytes_done) == (new.claim, new.due_at, None)


def test_a_claim_that_ran_out_holds_until_it_is_taken_over(sessions: Sessions) -> None:
    make_export(sessions, state=State.EXPORTING, due_at=NOW)
    [taken] = take(sessions, until=NOW)
    assert is_held(sessions, taken.id, taken.claim)
    assert is_renewed(sessions, taken, UNTIL)


def test_a_renewed_claim_holds_longer_and_sets_down_the_progress(sessions: Sessions) -> None:
    make_export(sessions, state=State.DOWNLOADING, due_at=NOW)
    [taken] = take(sessions, State.DOWNLOADING)
    later = UNTIL + timedelta(minutes=2)
    assert is_renewed(sessions, taken, later)
    kept = stored(sessions, taken.id)
    assert (kept.claimed_until, kept.due_at) == (later, later)
    assert (kept.bytes_done, kept.bytes_total) == (5, 9)
    assert take(sessions, State.DOWNLOADING, now=UNTIL) == []


def test_a_claim_that_was_given_back_holds_no_more(sessions: Sessions) -> None:
    make_export(sessions, state=State.EXPORTING, due_at=NOW)
    [taken] = take(sessions)
    with sessions.begin() as session:
        held = claims.held(session, taken.id, taken.claim)
        assert held is not None
        held.release(due_at=NOW)
    assert not is_held(sessions, taken.id, taken.claim)
    assert not is_renewed(sessions, taken, UNTIL)
    assert len(take(sessions)) == 1


def test_who_has_no_claim_holds_nothing(sessions: Sessions) -> None:
    free = make_export(sessions, state=State.EXPORTING, due_at=NOW)
    assert not is_held(sessions, free.id, None)
    assert not is_held(sessions, free.id, uuid4())


def test_what_is_held_is_read_afresh(sessions: Sessions) -> None:
    make_export(sessions, state=State.EXPORTING, due_at=NOW)
    with sessions() as session:
        [taken] = claims.take(session, State.EXPORTING, now=NOW, until=UNTIL)
        session.commit()
        assert is_renewed(sessions, taken, UNTIL)
        assert taken.bytes_done is None
        assert claims.held(session, taken.id, taken.claim) is taken
        assert taken.bytes_done == 5


def test_what_is_due_is_told_without_a_claim(sessions: Sessions) -> None:
    made = [make_export(sessions, state=State.EXPORTING, due_at=EARLIER) for _ in range(3)]
    make_export(sessions, state=State.EXPORTING, due_at=UNTIL)
    with sessions.begin() as session:
        due = claims.due(session, State.EXPORTING, now=NOW, limit=9)
        assert set(due) == {export.id for export in made}
        assert len(claims.due(session, State.EXPORTING, now=NOW, limit=2)) == 2
    assert stored(sessions, made[0].id).claim is None


def test_the_next_due_is_the_earliest_due_or_the_end_of_a_claim(sessions: Sessions) -> None:
    with sessions.begin() as session:
        assert claims.next_due(session, State.EXPORTING) is None
    make_export(sessions, state=State.EXPORTING, due_at=NOW)
    make_export(sessions, state=State.EXPORTING, due_at=UNTIL + timedelta(hours=1))
    take(sessions)
    with sessions.begin() as session:
        assert claims.next_due(session, State.EXPORTING) == UNTIL
        assert claims.next_due(session, State.REQUESTED) is None


def test_the_window_counts_what_is_due_claimed_or_neither(sessions: Sessions) -> None:
    make_export(sessions, state=State.SUBMITTING, due_at=NOW)
    make_export(sessions, state=State.EXPORTING, due_at=NOW)
    make_export(sessions, state=State.EXPORTING, due_at=UNTIL)
    make_export(sessions, state=State.REQUESTED, due_at=NOW)
    take(sessions)
    with sessions.begin() as session:
        assert claims.count(session, {State.SUBMITTING, State.EXPORTING}) == 3
        assert claims.count(session, UNDER_WAY) == 4
        assert claims.count(session, [State.DOWNLOADING]) == 0
        assert claims.count(session, ()) == 0


def test_what_has_ended_is_counted_too(sessions: Sessions) -> None:
    make_export(sessions, state=State.STORED, due_at=None)
    make_export(sessions, state=State.EXPORTING)
    with sessions.begin() as session:
        assert claims.count(session, {State.STORED}) == 1
        assert claims.count(session, {State.STORED, State.EXPORTING}) == 2
