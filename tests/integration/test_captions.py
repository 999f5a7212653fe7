"""Captions: what can't be told is asked again, a few times; what makes no sense is kept aside."""

import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session, sessionmaker

from models import Captions, Export, State
from tests.factories import Clock, make_export, make_kit, reload
from tests.fetching import text
from tests.raw_server import Say, http, raw_server
from worker import pace
from worker.errors import Stopping, Transient
from worker.steps import Kit, Step, Wake, captions, sweep
from worker.steps.captions import MOST_AT_ONCE, NEXT, STORAGE_AGAIN, STORAGE_MOST
from worker.transfer.patience import Patience
from worker.transfer.session import FileSession
from worker.transfer.stall import Floor

Sessions = sessionmaker[Session]

TTML = (
    b'<tt xmlns="http://www.w3.org/ns/ttml" xml:lang="en"><body><div>'
    b'<p begin="0s" end="1s">Good evening</p></div></body></tt>'
)
GOOD, FORBIDDEN = http(body=TTML), http("403 Forbidden")


def unknown(sessions: Sessions, url: str, clock: Clock, **members: Any) -> Export:
    """Return an export that is stored, and whose captions are to be asked for now."""
    values = {
        "captions": Captions.UNKNOWN,
        "captions_due_at": clock.time,
        "state_since": clock.time - pace.CAPTIONS_AGAIN[0],
        "due_at": None,
        "url": f"{url}/film.mp4",
        **members,
    }
    return make_export(sessions, state=State.STORED, **values)


def files(tmp_path: Path) -> dict[str, bytes]:
    found = (path for path in (tmp_path / "exports").rglob("*") if path.is_file())
    return {path.suffix: path.read_bytes() for path in found}


def test_captions_that_come_later_are_stored_beside_the_film(
    sessions: Sessions, tmp_path: Path
) -> None:
    clock = Clock()
    kit = make_kit(sessions, tmp_path, now=clock)
    with raw_server(FORBIDDEN, GOOD) as heard:
        export = unknown(sessions, heard.url, clock)
        captions(kit)
        after = reload(sessions, export)
        assert after.captions is Captions.UNKNOWN
        assert after.captions_note == "the file's URL answered with HTTP 403"
        clock.time = after.captions_due_at or clock.time
        report = captions(kit)
    after = reload(sessions, export)
    assert (after.captions, after.captions_due_at) == (Captions.PRESENT, None)
    assert (after.captions_note, after.webvtt_url) == (None, None)
    assert str(after.captions_url).endswith(f"{export.asset}/{export.id}.ttml")
    assert files(tmp_path) == {".ttml": TTML}
    assert (dict(report.facts), report.wakes) == ({"present": 1}, ())
    assert all(b"GET /film.mp4.ttml " in request for request in heard.requests)


def test_they_are_asked_for_a_few_times_and_then_left_unknown(
    sessions: Sessions, tmp_path: Path
) -> None:
    clock = Clock()
    stored_at = clock.time
    kit = make_kit(sessions, tmp_path, now=clock)
    with raw_server(FORBIDDEN) as heard:
        export = unknown(
            sessions,
            heard.url,
            clock,
            state_since=stored_at,
            captions_due_at=pace.captions_again(stored_at, now=stored_at),
        )
        ages: list[timedelta] = []
        while due_at := reload(sessions, export).captions_due_at:
            clock.time = due_at - timedelta(seconds=1)
            captions(kit)
            assert len(heard.requests) == len(ages), "not before its time"
            clock.time = due_at
            captions(kit)
            ages.append(due_at - stored_at)
    assert tuple(ages) == pace.CAPTIONS_AGAIN
    assert len(heard.requests) == len(ages)
    assert reload(sessions, export).captions is Captions.UNKNOWN


def test_who_was_away_for_long_asks_once(sessions: Sessions, tmp_path: Path) -> None:
    clock = Clock()
    with raw_server(FORBIDDEN) as heard:
        export = unknown(sessions, heard.url, clock, state_since=clock.time - timedelta(days=9))
        captions(make_kit(sessions, tmp_path, now=clock))
    assert len(heard.requests) == 1
    assert reload(sessions, export).captions_due_at is None


def test_captions_that_are_not_there_after_all_are_absent(
    sessions: Sessions, tmp_path: Path
) -> None:
    clock = Clock()
    with raw_server(http("404 Not Found")) as heard:
        export = unknown(sessions, heard.url, clock)
        captions(make_kit(sessions, tmp_path, now=clock))
    after = reload(sessions, export)
    assert (after.captions, after.captions_due_at) == (Captions.ABSENT, None)


def test_what_is_no_ttml_is_kept_aside_and_named(sessions: Sessions, tmp_path: Path) -> None:
    clock = Clock()
    page = b"<html><body>Sign in</body></html>"
    with raw_server(http(body=page)) as heard:
        export = unknown(sessions, heard.url, clock)
        captions(make_kit(sessions, tmp_path, now=clock))
    after = reload(sessions, export)
    assert (after.captions, after.captions_url) == (Captions.UNKNOWN, None)
    assert after.captions_due_at == clock.time + pace.CAPTIONS_AGAIN[1] - pace.CAPTIONS_AGAIN[0]
    assert files(tmp_path) == {".rejected": page}
    said = r"what came is no TTML \(its root is not TTML's\); it is kept at file://.*\.rejected"
    assert re.fullmatch(said, str(after.captions_note))


def test_an_answer_of_nothing_is_named_and_nothing_is_kept(
    sessions: Sessions, tmp_path: Path
) -> None:
    clock = Clock()
    with raw_server(http(body=b"")) as heard:
        export = unknown(sessions, heard.url, clock)
        captions(make_kit(sessions, tmp_path, now=clock))
    assert "not well-formed: no element found" in str(reload(sessions, export).captions_note)
    assert files(tmp_path) == {}


def test_webvtt_is_stored_beside_where_that_is_wanted(sessions: Sessions, tmp_path: Path) -> None:
    clock = Clock()
    with raw_server(GOOD) as heard:
        export = unknown(sessions, heard.url, clock)
        captions(make_kit(sessions, tmp_path, now=clock, captions_webvtt=True))
    after = reload(sessions, export)
    assert str(after.webvtt_url) == str(after.captions_url).replace(".ttml", ".vtt")
    assert files(tmp_path)[".ttml"] == TTML
    assert files(tmp_path)[".vtt"].startswith(b"WEBVTT\n\n00:00:00.000 --> 00:00:01.000")


def test_captions_that_cannot_be_webvtt_are_stored_all_the_same(
    sessions: Sessions, tmp_path: Path
) -> None:
    clock = Clock()
    timeless = TTML.replace(b' begin="0s" end="1s"', b"")
    with raw_server(http(body=timeless)) as heard:
        export = unknown(sessions, heard.url, clock)
        captions(make_kit(sessions, tmp_path, now=clock, captions_webvtt=True))
    after = reload(sessions, export)
    assert (after.captions, after.webvtt_url) == (Captions.PRESENT, None)
    assert "no WebVTT was made of them: CaptionReadTimingError" in str(after.captions_note)
    assert files(tmp_path) == {".ttml": timeless}


def test_a_storage_that_is_away_uses_up_no_try(sessions: Sessions, tmp_path: Path) -> None:
    clock = Clock()
    (tmp_path / "exports").write_text("no folder")
    kit = make_kit(sessions, tmp_path, now=clock)
    with raw_server(GOOD) as heard:
        export = unknown(sessions, heard.url, clock, state_since=clock.time - timedelta(hours=7))
        captions(kit)
        after = reload(sessions, export)
        assert after.captions_due_at == clock.time + STORAGE_AGAIN
        assert "store the file" in str(after.captions_note)
        (tmp_path / "exports").unlink()
        clock.time = after.captions_due_at
        captions(kit)
    assert reload(sessions, export).captions is Captions.PRESENT


def test_a_storage_that_stays_away_is_left_when_uplynk_has_no_files_any_more(
    sessions: Sessions, tmp_path: Path
) -> None:
    clock = Clock()
    (tmp_path / "exports").write_text("no folder")
    with raw_server(GOOD) as heard:
        export = unknown(sessions, heard.url, clock, state_since=clock.time - STORAGE_MOST)
        captions(make_kit(sessions, tmp_path, now=clock))
    assert reload(sessions, export).captions_due_at is None


def test_a_worker_that_stops_leaves_them_to_another_at_once(
    sessions: Sessions, tmp_path: Path
) -> None:
    clock = Clock()
    with raw_server(GOOD) as heard:
        export = unknown(sessions, heard.url, clock)
        captions(make_kit(sessions, tmp_path, now=clock, stopping=lambda: bool(heard.requests)))
    after = reload(sessions, export)
    assert len(heard.requests) == 1
    assert (after.captions, after.captions_due_at) == (Captions.UNKNOWN, clock.time)


def test_who_dies_at_it_has_asked_once(sessions: Sessions, tmp_path: Path) -> None:
    clock = Clock()

    def dies() -> FileSession:
        raise KeyboardInterrupt

    kit = make_kit(sessions, tmp_path, now=clock)
    with raw_server(GOOD) as heard:
        export = unknown(sessions, heard.url, clock)
        with pytest.raises(KeyboardInterrupt):
            captions(replace(kit, http=dies))
        after = reload(sessions, export)
        later = clock.time + pace.CAPTIONS_AGAIN[1] - pace.CAPTIONS_AGAIN[0]
        assert (after.captions, after.captions_due_at) == (Captions.UNKNOWN, later)
        clock.time = later
        captions(kit)
    assert reload(sessions, export).captions is Captions.PRESENT


def test_several_workers_bring_each_once(sessions: Sessions, tmp_path: Path) -> None:
    clock = Clock()
    with raw_server(GOOD) as heard:
        made = [unknown(sessions, heard.url, clock) for _ in range(6)]

        def work(_: int) -> Kit:
            kit = make_kit(sessions, tmp_path, now=clock)
            captions(kit)
            return kit

        with ThreadPoolExecutor(3) as pool:
            list(pool.map(work, range(3)))
    assert {reload(sessions, export).captions for export in made} == {Captions.PRESENT}
    assert len(heard.requests) == len(made)


def test_one_message_asks_for_some_and_wakes_the_next(sessions: Sessions, tmp_path: Path) -> None:
    clock = Clock()
    kit = make_kit(sessions, tmp_path, now=clock)
    with raw_server(GOOD) as heard:
        for _ in range(MOST_AT_ONCE + 1):
            unknown(sessions, heard.url, clock)
        report = captions(kit)
        assert report.facts == {"present": MOST_AT_ONCE}
        assert report.wakes == (Wake(Step.CAPTIONS, at=clock.time + NEXT),)
        assert captions(kit).wakes == ()


def test_another_accounts_are_left_to_its_workers(sessions: Sessions, tmp_path: Path) -> None:
    clock = Clock()
    with raw_server(GOOD) as heard:
        unknown(sessions, heard.url, clock, account="f" * 32)
        kit = make_kit(sessions, tmp_path, now=clock)
        assert captions(kit).facts == {}
        assert sweep(kit).wakes == ()
    assert heard.requests == []


def test_the_sweep_wakes_who_asks_for_them(sessions: Sessions, tmp_path: Path) -> None:
    clock = Clock()
    kit = make_kit(sessions, tmp_path, now=clock)
    export = unknown(sessions, "http://127.0.0.1:1", clock)
    assert sweep(kit).wakes == (Wake(Step.CAPTIONS),)
    later = clock.time + timedelta(hours=1)
    with sessions.begin() as session:
        session.get_one(Export, export.id).captions_due_at = later
    assert sweep(kit).wakes == (Wake(Step.CAPTIONS, at=later),)


def test_captions_that_trickle_are_given_up() -> None:
    with raw_server(Say(GOOD.head, drip_seconds=0.05)) as heard:
        begun = time.monotonic()
        slow = Floor(bytes_per_second=100_000, seconds=0.5)
        with pytest.raises(Transient, match="file_stalled"):
            text(heard.url, floor=slow)
        assert time.monotonic() - begun < 10


def test_patience_ends_a_read_that_waits() -> None:
    with raw_server(Say(GOOD.head[:-9], hold=True)) as heard:
        patience = Patience(0.3, lambda: False)
        with pytest.raises(Transient, match="file_stalled"):
            text(heard.url, guard=patience)
        assert patience.is_over


def test_patience_with_a_worker_that_stops_ends_at_once() -> None:
    with pytest.raises(Stopping):
        Patience(60, lambda: True).progress(1, 2)
