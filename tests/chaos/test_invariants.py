"""The invariants: each holds of a world in order, and fails of one that is spoilt its way."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import delete, update

from models import Audio, Base, Captions, History, Request, State
from models.database import open_sessions
from tests.chaos.misbehaviour import CAPTIONS
from tests.chaos.run import INVARIANTS
from tests.chaos.scene import Scene
from tests.chaos.world import Struck
from tests.engines import opened

Spoil = Callable[[Scene], object]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    # the tables as they are in the models: quicker than by all migrations
    with opened(f"sqlite:///{tmp_path}/exports.db") as engine:
        Base.metadata.create_all(engine)
        yield Scene(open_sessions(engine), tmp_path)


def unsend(scene: Scene) -> None:
    with scene.sessions.begin() as session:
        session.execute(delete(Request).where(Request.id == scene.wishes[0].request_id))


def refuse(scene: Scene) -> None:
    with scene.sessions.begin() as session:
        session.execute(update(Request).values(export_id=None, error_code="invalid_request"))


def want_more(scene: Scene) -> None:
    scene.wishes[0] = replace(scene.wishes[0], priority=9)


def want_the_other(scene: Scene) -> None:
    scene.wishes[0] = replace(scene.wishes[0], aaclc=True)


def pay_twice(scene: Scene) -> None:
    scene.jobs.append({**scene.jobs[0], "id": uuid4().hex})


def pay_for_another(scene: Scene) -> None:
    scene.jobs[0]["asset"] = uuid4().hex


def swap_codecs(scene: Scene) -> None:
    scene.jobs[0]["args"]["aaclc"] = 1


def another_media(scene: Scene) -> None:
    scene.media[scene.jobs[0]["id"]]["sha256"] = "0" * 64


def turn_back_time(scene: Scene) -> None:
    with scene.sessions.begin() as session:
        session.execute(
            update(History)
            .where(History.to_state == State.STORED)
            .values(at=datetime.now(UTC) - timedelta(days=1))
        )


def leap(scene: Scene) -> None:
    with scene.sessions.begin() as session:
        session.execute(delete(History).where(History.to_state == State.EXPORTING))


def forbidden_way(scene: Scene) -> None:
    with scene.sessions.begin() as session:
        for column in (History.to_state, History.from_state):
            session.execute(
                update(History)
                .where(column == State.EXPORTING)
                .values({column.key: State.REQUESTED})
            )


def no_beginning(scene: Scene) -> None:
    with scene.sessions.begin() as session:
        session.execute(delete(History).where(History.from_state.is_(None)))


def other_end(scene: Scene) -> None:
    with scene.sessions.begin() as session:
        session.execute(delete(History).where(History.to_state == State.STORED))


def write(name: str) -> Spoil:
    return lambda scene: (scene.folder / name).write_bytes(b"left over")


NOW = datetime.now(UTC)
SPOILS: dict[str, list[Spoil]] = {
    "every request is on record": [unsend, refuse],
    "no message vanished": [lambda scene: scene.vanished.append(scene.wishes[0].request_id)],
    "every request got what it asked for": [want_more, want_the_other],
    "everything has ended": [
        lambda scene: scene.change(scene.stored, state=State.EXPORTING, due_at=NOW),
        lambda scene: scene.change(scene.stored, claim=uuid4(), claimed_until=NOW),
        lambda scene: scene.change(scene.stored, due_at=NOW),
    ],
    "ends are justified": [
        lambda scene: scene.change(scene.stored, state=State.FAILED, error_code="job_lost"),
        lambda scene: scene.change(scene.stored, state=State.CANCELLED),
        lambda scene: scene.change(scene.failed, error_code="export_error"),
        lambda scene: scene.change(scene.failed, state=State.STORED, error_code=None),
    ],
    "stored files are true": [
        lambda scene: scene.film.unlink(),
        lambda scene: scene.film.write_bytes(b"something else of another size"),
        lambda scene: scene.change(scene.stored, sha256="0" * 64),
        lambda scene: scene.change(scene.stored, size_bytes=1),
        lambda scene: scene.change(scene.stored, storage_url=None),
        another_media,
    ],
    "captions are true": [
        lambda scene: scene.change(scene.stored, captions=Captions.UNKNOWN),
        lambda scene: scene.change(scene.stored, captions=Captions.ABSENT),
        lambda scene: scene.film.with_suffix(".ttml").unlink(),
        lambda scene: scene.film.with_suffix(".ttml").write_bytes(b"<tt/>"),
    ],
    "each export is paid for once": [
        pay_twice,
        pay_for_another,
        swap_codecs,
        lambda scene: scene.jobs.clear(),
        lambda scene: scene.change(scene.stored, job_id=None),
        lambda scene: scene.change(scene.stored, audio=Audio.AAC_LC),
    ],
    "histories are paths": [turn_back_time, leap, forbidden_way, no_beginning, other_end],
    "every end was told": [
        lambda scene: scene.told.pop(),
        lambda scene: scene.told[0]["data"].update(state="failed"),
        lambda scene: scene.told[0]["data"].update(sha256="0" * 64),
        lambda scene: scene.change(scene.failed, state=State.CANCELLED),
    ],
    "no event is told as two": [lambda scene: scene.told.append({**scene.told[0], "id": "2"})],
    "no scratch file is left": [write("scratch/x.part")],
    "storage holds what is stored": [
        write("exports/x.mp4#1"),
        write("exports/x.ttml.rejected"),
        lambda scene: scene.change(scene.stored, state=State.FAILED),
    ],
    "no message is left": [lambda scene: scene.leave(messages={"exports": 1})],
    "connections are few": [
        lambda scene: scene.leave(idle=[("w", "idle")] * 6, living=1),
        lambda scene: scene.leave(idle=[("w", "idle in transaction")], living=1),
    ],
    "no connection is left": [lambda scene: scene.leave(connections=[("w", "idle")])],
    "no process is left": [lambda scene: scene.leave(processes=["4711: celery"])],
    "workers end in time": [lambda scene: scene.leave(stops={"w": 20.0})],
    "no worker ends unasked": [lambda scene: scene.leave(deaths=["w ended by itself"])],
}


def test_every_invariant_has_its_spoils() -> None:
    assert SPOILS.keys() == INVARIANTS.keys()


def test_all_invariants_hold_of_a_world_in_order(scene: Scene) -> None:
    scene.leave(idle=[("w", "idle")] * 5, living=1, stops={"w": 1.0})
    remains = scene.remains()
    found = {name: list(check(remains)) for name, check in INVARIANTS.items()}
    assert not any(found.values()), found


@pytest.mark.parametrize(
    ("name", "spoil"), [(name, spoil) for name, spoils in SPOILS.items() for spoil in spoils]
)
def test_an_invariant_fails_of_what_violates_it(scene: Scene, name: str, spoil: Spoil) -> None:
    spoil(scene)
    violations = list(INVARIANTS[name](scene.remains()))
    assert violations
    assert all(violation.message for violation in violations)


@pytest.mark.parametrize(
    ("call", "ended_ago", "is_excused"),
    [(CAPTIONS, 10, True), (CAPTIONS, 600, False), ("media", 10, False)],
)
def test_captions_may_be_unknown_only_while_their_answer_was_struck(
    scene: Scene, call: str, ended_ago: float, *, is_excused: bool
) -> None:
    scene.change(scene.stored, captions=Captions.UNKNOWN, captions_url=None)
    end = datetime.now(UTC) - timedelta(seconds=ended_ago)
    scene.struck.append(Struck(call, "html", end - timedelta(seconds=60), end))
    assert (not list(INVARIANTS["captions are true"](scene.remains()))) == is_excused
