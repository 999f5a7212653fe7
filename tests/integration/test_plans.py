"""Plans: what a list would come to, asked of Uplynk before anything is paid for."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.orm import Session, sessionmaker

from emulator.server import Emulator
from models import Export, Request, State
from tests.factories import ACCOUNT, an_asset, make_export, make_kit
from worker import inquiry
from worker.cloudslicer.asset import Asset
from worker.errors import Permanent, Transient
from worker.inquiry import Inquiry
from worker.lists import Line, lines
from worker.plans import Experience, Plan, planned
from worker.steps import Kit, create
from worker.steps.bulk import Batchful

Sessions = sessionmaker[Session]
WHERE = Batchful(ACCOUNT, "archive")


@pytest.fixture
def kit(sessions: Sessions, tmp_path: Path, emulator: Emulator) -> Kit:
    return make_kit(sessions, tmp_path, emulator=emulator, uplynk_timeout_seconds=3)


def plan(kit: Kit, text: str, where: Batchful = WHERE) -> tuple[Plan, list[Line]]:
    listed = lines(text.encode().splitlines(), batch=where.batch, defaults={})
    found = Plan()
    return found, list(planned(kit, where, listed, found))


def numbers(plan: Plan) -> dict[str, int]:
    """Return what is not nought of what it counts."""
    counts = {name: getattr(plan, name) for name in Plan.__dataclass_fields__}
    return {name: n for name, n in counts.items() if isinstance(n, int) and n}


def calls(emulator: Emulator) -> int:
    counted: int = emulator.control.calls()["calls"].get("asset/get", 0)
    return counted


def test_a_plan_tells_each_line_apart_and_sets_nothing_down(kit: Kit, emulator: Emulator) -> None:
    shared, stored, missing, unready, fresh = (an_asset() for _ in range(5))
    create(kit, "r1", {"asset": shared})
    make_export(kit.sessions, state=State.STORED, asset=stored, due_at=None)
    emulator.control.asset(missing, missing=True)
    emulator.control.fault(
        "asset/get", "malformed", asset=unready, member="state", value="processing"
    )
    other = an_asset()
    listed = [shared, stored, missing, unready, other, fresh, fresh, "nonsense"]
    found, wrong = plan(kit, "asset\n" + "\n".join(listed))
    assert numbers(found) == {
        "lines": 8,
        "wrong": 1,
        "repeated": 1,
        "shared": 1,
        "stored": 1,
        "missing": 1,
        "unready": 1,
        "to_export": 2,
    }
    assert found.seconds == 2.0  # the emulator's films last a second
    assert not found.is_whole
    assert {line.number: line.wrong for line in wrong if line.wrong} == {
        4: f"asset {missing}: Uplynk has it not",
        5: f"asset {unready} is not ready, but processing",
        9: wrong[[line.number for line in wrong].index(9)].wrong,
    }
    with kit.sessions.begin() as session:
        assert (session.query(Request).count(), session.query(Export).count()) == (1, 2)
    assert not emulator.control.jobs()
    assert calls(emulator) == 1


@pytest.mark.parametrize("member", ["require_drm", "require_studio_drm"])
def test_what_is_under_drm_is_told(kit: Kit, emulator: Emulator, member: str) -> None:
    asset = an_asset()
    emulator.control.fault("asset/get", "malformed", asset=asset, member=member, value=1)
    found, _ = plan(kit, f"{asset}\n{an_asset()}\n")
    assert numbers(found) == {"lines": 2, "to_export": 2, "protected": 1}


def test_what_failed_before_under_another_id_is_paid_for(kit: Kit) -> None:
    asset = an_asset()
    create(kit, "r1", {"asset": asset})
    with kit.sessions.begin() as session:
        export = session.query(Export).one()
        export.fail("export_error", "no", now=kit.now())
    text = f'{{"asset": "{asset}", "id": "r1"}}\n{{"asset": "{asset}", "id": "r2"}}\n'
    assert numbers(plan(kit, text)[0]) == {"lines": 2, "known": 1, "to_export": 1}


def test_uplynk_is_asked_about_a_thousand_at_a_time(kit: Kit, emulator: Emulator) -> None:
    found, _ = plan(kit, "\n".join(an_asset() for _ in range(2001)))
    assert (found.to_export, calls(emulator)) == (2001, 3)
    assert found.is_whole


def test_what_is_stored_is_counted_again_where_it_is_exported_again(kit: Kit) -> None:
    asset = an_asset()
    make_export(kit.sessions, state=State.STORED, asset=asset, due_at=None)
    assert numbers(plan(kit, asset)[0]) == {"lines": 1, "stored": 1}
    again = Batchful(ACCOUNT, "archive", since=kit.now())
    assert numbers(plan(kit, asset, again)[0]) == {"lines": 1, "to_export": 1}


def test_size_and_time_are_told_by_what_was_stored_last(kit: Kit) -> None:
    now = kit.now()
    for number in range(4):
        make_export(
            kit.sessions,
            state=State.STORED,
            due_at=None,
            state_since=now - timedelta(minutes=20 if number else 90),
            asked_at=now - timedelta(hours=2, seconds=30),
            done_at=now - timedelta(hours=2),
            size_bytes=5000,
            duration_seconds=10.0,
        )
    found, _ = plan(kit, "\n".join(an_asset() for _ in range(10)))
    assert found.size_bytes == 5000  # ten seconds of film, at 500 bytes a second
    assert found.least_time(2) == timedelta(seconds=150)  # five times two, of half a minute
    assert found.least_time(100) == timedelta(seconds=30)
    pace = found.time_at_the_pace
    assert pace is not None
    assert abs(pace - timedelta(minutes=20) * 10 / 3) < timedelta(minutes=1)
    values = found.as_json()
    assert (values["to_export"], values["size_bytes"]) == (10, 5000)


def test_before_anything_was_stored_size_and_time_are_not_made_up(kit: Kit) -> None:
    found, _ = plan(kit, an_asset())
    assert found.experience == Experience()
    assert (found.size_bytes, found.least_time(1), found.time_at_the_pace) == (None, None, None)


def test_a_film_of_unknown_length_counts_as_an_average_one() -> None:
    known = Experience(films=1, seconds=10.0, size_bytes=1000)
    assert Plan(to_export=4, untold=2, seconds=20.0, experience=known).size_bytes == 4000
    assert Plan(to_export=2, untold=2, experience=known).size_bytes == 0


@pytest.mark.parametrize(
    "answer",
    [
        {"assets": [{"id": "a", "duration": 2.5, "state": "ready"}, "x", {"id": 7}]},
        {"assets": {"a": {"id": "a", "duration": 2.5, "state": "ready"}}},
        {"things": [{"id": "a", "duration": 2.5, "state": "ready"}]},
    ],
)
def test_assets_are_found_wherever_an_answer_has_them(answer: dict[str, object]) -> None:
    assert Asset.find_all({"error": 0, **answer}) == {
        "a": Asset(id="a", duration_seconds=2.5, state="ready")
    }


@pytest.mark.parametrize("answer", [{}, {"assets": 7}, {"a": [], "b": []}])
def test_an_answer_without_assets_is_none(answer: dict[str, object]) -> None:
    assert Asset.find_all({"error": 0, **answer}) is None


def test_where_many_are_refused_fewer_are_asked_for(kit: Kit, emulator: Emulator) -> None:
    assets = sorted(an_asset() for _ in range(4))
    emulator.control.asset(assets[0], missing=True)
    emulator.control.fault("asset/get", "error", msg="Asset not found", times=2)
    told = Inquiry(kit).about(assets)
    assert set(told) == set(assets[1:])
    # four, two, the first alone, which is missing indeed, and the second; and the other two
    assert calls(emulator) == 5


def test_one_that_is_refused_for_another_reason_is_told_with_it(
    kit: Kit, emulator: Emulator
) -> None:
    assets = sorted(an_asset() for _ in range(4))
    asking = Inquiry(kit)
    assert set(asking.about(assets[:2])) == set(assets[:2])
    emulator.control.fault("asset/get", "error", msg="Locked", times=1)
    emulator.control.fault("asset/get", "error", msg="Locked", asset=assets[2])
    assert set(asking.about(assets[2:])) == {assets[3]}
    assert "Locked" in asking.refusals[assets[2]]


def test_the_first_may_be_refused_and_the_others_not(kit: Kit, emulator: Emulator) -> None:
    assets = sorted(an_asset() for _ in range(8))
    emulator.control.fault("asset/get", "error", msg="Locked", times=4)
    asking = Inquiry(kit)
    assert set(asking.about(assets)) == set(assets[1:])
    assert set(asking.refusals) == {assets[0]}


def test_a_key_that_is_wrong_is_said_at_once(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    kit = make_kit(sessions, tmp_path, emulator=emulator, uplynk_api_key="wrong-key")
    waits: list[float] = []
    with pytest.raises(Transient, match="UPLYNK_API_KEY"):
        Inquiry(kit, wait=waits.append).about([an_asset(), an_asset()])
    assert not waits


def test_where_whatever_it_is_asked_is_refused_there_is_no_plan(
    kit: Kit, emulator: Emulator
) -> None:
    emulator.control.fault("asset/get", "error", msg="Not for you", times=None)
    with pytest.raises(Permanent, match="Not for you"):
        plan(kit, "\n".join(an_asset() for _ in range(8)))
    assert calls(emulator) == 7  # of eight, four, two, one and one; two, and one


def test_where_there_is_no_answer_it_is_asked_again(kit: Kit, emulator: Emulator) -> None:
    asset = an_asset()
    emulator.control.fault("asset/get", "html", times=1)
    assert set(Inquiry(kit).about([asset])) == {asset}
    assert calls(emulator) == 2


def test_where_there_is_none_for_long_there_is_no_plan(kit: Kit, emulator: Emulator) -> None:
    emulator.control.fault("asset/get", "html", times=None)
    waits: list[float] = []
    with pytest.raises(Transient):
        Inquiry(kit, wait=waits.append).about([an_asset(), an_asset()])
    assert waits == [1.0, 2.0, 4.0]
    assert calls(emulator) == inquiry.TRIES


def test_it_waits_as_long_as_uplynk_asks_it_to_but_not_for_ever(
    kit: Kit, emulator: Emulator
) -> None:
    for seconds in (7, 3600):
        emulator.control.fault(
            "asset/get", "status", status=429, body="empty", times=1, retry_after=seconds
        )
    waits: list[float] = []
    assert Inquiry(kit, wait=waits.append).about([an_asset()])
    assert sorted(waits) == [7.0, inquiry.MOST_PAUSE_SECONDS]
