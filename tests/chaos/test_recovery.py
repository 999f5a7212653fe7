"""Recovery and excuses: what the audit and the broker's record are read to mean."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.chaos.broker import Wipe
from tests.chaos.calm import excuse
from tests.chaos.database import Change
from tests.chaos.fleet import Kill
from tests.chaos.recovery import percentile, recoveries

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def change(seconds: float, who: str, export_id: UUID, **members: Any) -> Change:
    values: dict[str, Any] = {
        "id": 0,
        "port": None,
        "state": "downloading",
        "claim": uuid4(),
        "claimed_until": at(seconds + 5),
        "due_at": None,
        "attempts": 0,
        "job_id": None,
        **members,
    }
    return Change(at=at(seconds), export_id=export_id, who=who, **values)


def test_what_a_killed_worker_held_is_taken_up_by_another() -> None:
    export = uuid4()
    audit = [change(0, "a", export), change(1, "a", export), change(7, "b", export)]
    (recovery,) = recoveries(audit, [Kill(at(2), "a")])
    assert (recovery.export_id, recovery.seconds, recovery.claim_left) == (export, 5, 4)


@pytest.mark.parametrize(("begin", "is_undisturbed"), [(1, False), (6, False), (8, True)])
def test_a_recovery_is_disturbed_by_an_outage_in_its_time(
    begin: float, *, is_undisturbed: bool
) -> None:
    export = uuid4()
    audit = [change(0, "a", export), change(7, "b", export)]
    outages = [(at(begin), at(begin + 2))]
    (recovery,) = recoveries(audit, [Kill(at(2), "a")], outages=outages)
    assert recovery.is_undisturbed == is_undisturbed


def test_what_nobody_takes_up_is_never_recovered() -> None:
    (recovery,) = recoveries([change(0, "a", uuid4())], [Kill(at(2), "a")])
    assert recovery.seconds is None


def test_what_was_given_back_or_ran_out_or_is_anothers_was_not_held() -> None:
    given_back, anothers, run_out = uuid4(), uuid4(), uuid4()
    audit = [
        change(0, "a", given_back, claim=None, claimed_until=None),
        change(0, "b", anothers),
        change(0, "a", run_out, claimed_until=at(1)),
    ]
    assert recoveries(audit, [Kill(at(2), "a")]) == []


def test_of_a_killed_child_only_its_own_connections_count() -> None:
    own, sisters = uuid4(), uuid4()
    audit = [change(0, "a", own, port=1), change(0, "a", sisters, port=2)]
    audit += [change(6, "a", own, port=2), change(6, "a", sisters, port=2)]
    (recovery,) = recoveries(audit, [Kill(at(1), "a", frozenset({1}))])
    assert (recovery.export_id, recovery.seconds) == (own, 5)


@pytest.mark.parametrize(
    ("accepted", "why"), [(0, "wiped"), (10.5, "wiped"), (12, "vanished"), (30, "vanished")]
)
def test_a_lost_message_is_excused_by_what_came_after_it(accepted: float, why: str) -> None:
    assert excuse(at(accepted), [Wipe(at(9), at(10))]) == why


def test_a_percentile_is_one_of_the_values() -> None:
    assert percentile([], 0.95) is None
    assert percentile([3.0], 0.95) == 3.0
    assert percentile([float(n) for n in range(100)], 0.95) == 95.0
