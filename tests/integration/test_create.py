"""Create: messages become requests and exports, whatever they hold and however often they come."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from models import Audio, Export, History, Request, State
from models.turn import Turn
from tests.engines import sent
from tests.factories import ASSET, admit_next, make_export, make_kit
from worker.errors import InvalidRequest
from worker.steps import Step, Wake, create
from worker.steps.wish import read

Sessions = sessionmaker[Session]


def count(sessions: Sessions, table: type[Export | Request | History]) -> int:
    with sessions.begin() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def the_request(sessions: Sessions, request_id: str) -> Request:
    with sessions.begin() as session:
        return session.get_one(Request, request_id)


def test_a_request_begins_an_export_and_wakes_submit(sessions: Sessions, tmp_path: Path) -> None:
    kit = make_kit(sessions, tmp_path)
    report = create(
        kit,
        "r-1",
        {
            "asset": ASSET,
            "aaclc": True,
            "priority": 7,
            "metadata": {"article": 4711},
            "callback": {"task": "cms.export_finished", "queue": "cms"},
            "webhook_url": "https://cms.example/hook",
        },
    )
    assert report.wakes == (Wake(Step.SUBMIT),)
    request = the_request(sessions, "r-1")
    export = request.export
    assert export is not None
    assert (export.asset, export.audio, export.priority) == (ASSET, Audio.AAC_LC, 7)
    assert (export.state, export.claim) == (State.REQUESTED, None)
    assert export.due_at is not None
    assert request.metadata_ == {"article": 4711}
    assert (request.callback_task, request.callback_queue) == ("cms.export_finished", "cms")
    assert request.webhook_url == "https://cms.example/hook"
    assert count(sessions, History) == 1


@pytest.mark.services
def test_a_request_is_set_down_by_one_statement(sessions: Sessions, tmp_path: Path) -> None:
    kit = make_kit(sessions, tmp_path)
    for request_id, asset in (("r-1", ASSET), ("r-2", "b" * 32)):  # of one requester
        with sent(sessions) as statements:
            create(kit, request_id, {"asset": asset, "requester": "news"})
        assert statements == [True]
    assert [turn.requester for turn in all_turns(sessions)] == ["news"]


@pytest.mark.services
def test_a_request_waits_for_nobody_who_is_just_admitting(
    sessions: Sessions, tmp_path: Path
) -> None:
    kit = make_kit(sessions, tmp_path)
    create(kit, "r-1", {"asset": ASSET, "requester": "news"})
    with ThreadPoolExecutor(1) as pool, sessions.begin() as admitting:
        assert admit_next(admitting, now=kit.now())
        wish = {"asset": "b" * 32, "requester": "news"}
        assert pool.submit(create, kit, "r-2", wish).result(timeout=30).wakes
    [turn] = all_turns(sessions)
    assert turn.served == 1


def all_turns(sessions: Sessions) -> Sequence[Turn]:
    with sessions.begin() as session:
        return session.scalars(select(Turn)).all()


def test_the_same_message_three_times_is_one_request(sessions: Sessions, tmp_path: Path) -> None:
    kit = make_kit(sessions, tmp_path)
    for _ in range(3):
        create(kit, "r-1", {"asset": ASSET})
    assert count(sessions, Request) == count(sessions, Export) == count(sessions, History) == 1


def test_the_same_message_in_eight_workers_at_once_is_one_request(
    sessions: Sessions, tmp_path: Path
) -> None:
    kit = make_kit(sessions, tmp_path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: create(kit, "r-1", {"asset": ASSET}), range(8)))
    assert count(sessions, Request) == count(sessions, Export) == 1


def test_requests_for_one_asset_at_once_share_one_export(
    sessions: Sessions, tmp_path: Path
) -> None:
    kit = make_kit(sessions, tmp_path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: create(kit, f"r-{n}", {"asset": ASSET}), range(8)))
    assert count(sessions, Request) == 8
    assert count(sessions, Export) == 1


def test_another_audio_codec_is_another_export(sessions: Sessions, tmp_path: Path) -> None:
    kit = make_kit(sessions, tmp_path)
    create(kit, "r-1", {"asset": ASSET})
    create(kit, "r-2", {"asset": ASSET, "aaclc": True})
    assert count(sessions, Export) == 2


@pytest.mark.parametrize("state", [State.STORED, State.FAILED, State.CANCELLED])
def test_an_export_that_has_ended_is_not_shared(
    sessions: Sessions, tmp_path: Path, state: State
) -> None:
    old = make_export(sessions, state=state, asset=ASSET, due_at=None)
    create(make_kit(sessions, tmp_path), "r-1", {"asset": ASSET})
    export = the_request(sessions, "r-1").export
    assert export is not None
    assert export.id != old.id


@pytest.mark.parametrize("state", [State.SUBMITTING, State.EXPORTING, State.DOWNLOADING])
def test_an_export_under_way_is_shared_and_becomes_no_less_urgent(
    sessions: Sessions, tmp_path: Path, state: State
) -> None:
    old = make_export(sessions, state=state, asset=ASSET, priority=3)
    kit = make_kit(sessions, tmp_path)
    create(kit, "r-1", {"asset": ASSET, "priority": 9})
    create(kit, "r-2", {"asset": ASSET, "priority": 1})
    export = the_request(sessions, "r-2").export
    assert export is not None
    assert (export.id, export.priority, export.state) == (old.id, 9, state)


BAD: list[tuple[dict[str, Any], str]] = [
    ({}, "asset: is missing"),
    ({"asset": "short"}, "asset: must be an asset's id: 32 hex digits in lower case"),
    ({"asset": ASSET + "\n"}, "asset: must be an asset's id"),
    ({"asset": ASSET.upper()}, "asset: must be an asset's id"),
    ({"asset": 5}, "asset: Input should be a valid string"),
    ({"asset": ASSET, "colour": "red"}, "colour: is no argument of exports.create"),
    ({"asset": ASSET, "aaclc": "yes"}, "aaclc: Input should be a valid boolean"),
    ({"asset": ASSET, "priority": "high"}, "priority: Input should be a valid integer"),
    ({"asset": ASSET, "priority": 10**9}, "priority: Input should be less than"),
    ({"asset": ASSET, "metadata": [1]}, "metadata: Input should be a valid dictionary"),
    ({"asset": ASSET, "metadata": {"a": "x" * 70_000}}, "metadata: is 70009 bytes as JSON"),
    ({"asset": ASSET, "metadata": {"a": ["\0"]}}, "text that no database takes: NUL"),
    ({"asset": ASSET, "metadata": {"\ud800": 1}}, "half a surrogate pair"),
    ({"asset": ASSET, "metadata": {"a": float("nan")}}, "metadata: Out of range float"),
    ({"asset": "\ud800"}, "half a surrogate pair"),
    ({"asset": ASSET, "\0": 1}, "text that no database takes: NUL"),
    ({"asset": ASSET, "callback": {"task": "a\0", "queue": "b"}}, "text that no database"),
    ({"asset": ASSET, "callback": {"task": "t"}}, "callback.queue: is missing"),
    ({"asset": ASSET, "callback": "cms.done"}, "callback: Input should be"),
    ({"asset": ASSET, "webhook_url": "ftp://x/y"}, "webhook_url: must be an http://"),
    ({"asset": ASSET, "webhook_url": "https://u:p@x/y"}, "webhook_url: must hold no user"),
    ({"asset": ASSET, "webhook_url": "https://x:99999/y"}, "webhook_url: is no URL that can be"),
    ({"asset": ASSET, "webhook_url": "https://x:port/y"}, "webhook_url: is no URL that can be"),
    ({"asset": ASSET, "webhook_url": "https://../y"}, "webhook_url: must be an http://"),
    ({"asset": ASSET, "webhook_url": "https://a b/y"}, "webhook_url: is no URL that can be"),
    ({"asset": ASSET, "webhook_url": "https://x\\@y/"}, "webhook_url: must be an http://"),
    ({"asset": ASSET, "webhook_url": "https://u:p@x\u2100y/"}, "webhook_url: "),
]


@pytest.mark.parametrize(("arguments", "says"), BAD)
def test_a_request_that_makes_no_sense_is_on_record_as_failed(
    sessions: Sessions, tmp_path: Path, arguments: dict[str, Any], says: str
) -> None:
    kit = make_kit(sessions, tmp_path)
    with pytest.raises(InvalidRequest) as raised:
        create(kit, "r-1", arguments)
    assert says in str(raised.value)
    request = the_request(sessions, "r-1")
    assert request.state is State.FAILED
    assert request.error == ("invalid_request", str(raised.value))
    assert count(sessions, Export) == 0


def test_each_wrong_argument_is_named() -> None:
    with pytest.raises(InvalidRequest) as raised:
        read({"asset": 1, "aaclc": 2, "what": 3})
    assert all(name in str(raised.value) for name in ("asset", "aaclc", "what"))


def test_positional_arguments_are_refused(sessions: Sessions, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="keyword arguments only"):
        create(make_kit(sessions, tmp_path), "r-1", {}, [ASSET])
    assert the_request(sessions, "r-1").state is State.FAILED


@pytest.mark.parametrize("request_id", ["", "x" * 156, "a\0b", "\ud800"])
def test_an_id_that_cannot_be_kept_is_refused_without_a_record(
    sessions: Sessions, tmp_path: Path, request_id: str
) -> None:
    with pytest.raises(InvalidRequest, match="task id"):
        create(make_kit(sessions, tmp_path), request_id, {"asset": ASSET})
    assert count(sessions, Request) == 0


def test_a_refused_request_stays_refused(sessions: Sessions, tmp_path: Path) -> None:
    kit = make_kit(sessions, tmp_path)
    for _ in range(2):
        with pytest.raises(InvalidRequest):
            create(kit, "r-1", {"asset": "nonsense"})
    report = create(kit, "r-1", {"asset": ASSET})
    assert report.facts == {"request_id": "r-1", "state": "failed"}
    assert count(sessions, Export) == 0


def test_an_id_that_stands_for_another_wish_is_refused_and_stays_what_it_was(
    sessions: Sessions, tmp_path: Path
) -> None:
    kit = make_kit(sessions, tmp_path)
    create(kit, "r-1", {"asset": ASSET})
    with pytest.raises(InvalidRequest, match=f"is one for asset {ASSET} in he-aac already"):
        create(kit, "r-1", {"asset": "f" * 32})
    assert the_request(sessions, "r-1").asset == ASSET
