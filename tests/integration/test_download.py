"""Download: a file is in storage whole or not at all, and what is on record is true of it."""

import hashlib
import re
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import av
import pytest
from sqlalchemy.orm import Session, sessionmaker
from structlog.testing import capture_logs

from emulator.server import Emulator
from models import Audio, Captions, Export, State, claims
from tests.factories import Clock, make_export, make_kit, reload
from tests.marks import repeats
from tests.waiting import wait_until
from worker import pace
from worker.steps import Kit, Step, Wake, download, downloads, poll, submit
from worker.steps.downloads import MOST_TIME
from worker.tables import progress

Sessions = sessionmaker[Session]


def finished(sessions: Sessions, tmp_path: Path, emulator: Emulator, **asset: Any) -> Export:
    """Return an export that Uplynk is done with; its download is due."""
    export = make_export(sessions, state=State.REQUESTED)
    emulator.control.asset(export.asset, run_seconds=0, **asset)
    kit = make_kit(sessions, tmp_path, emulator=emulator)
    submit(kit)
    with sessions.begin() as session:
        session.get_one(Export, export.id).due_at = export.due_at
    poll(kit)
    export = reload(sessions, export)
    assert export.state is State.DOWNLOADING
    return export


def stored_files(tmp_path: Path) -> list[Path]:
    return sorted(path for path in (tmp_path / "exports").rglob("*") if path.is_file())


def scratch_files(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "scratch").glob("*"))


def test_the_file_is_stored_and_described(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    export = finished(sessions, tmp_path, emulator, captions=False)
    report = download(make_kit(sessions, tmp_path, emulator=emulator), export.id)
    after = reload(sessions, export)
    assert report.facts["state"] == "stored"
    assert (after.state, after.due_at, after.claim) == (State.STORED, None, None)
    (file,) = stored_files(tmp_path)
    assert file == tmp_path / "exports" / export.asset / f"{export.id}.mp4"
    assert unquote(urlsplit(str(after.storage_url)).path) == str(file)
    truth = emulator.control.media(str(export.job_id))
    assert hashlib.sha256(file.read_bytes()).hexdigest() == after.sha256 == truth["sha256"]
    assert file.stat().st_size == after.size_bytes == after.bytes_done == truth["size_bytes"]
    assert after.duration_seconds == pytest.approx(1.0, abs=0.1)
    assert after.asset_duration_seconds == 1.0
    assert (after.video_codec, after.audio_codec, after.audio_profile) == ("h264", "aac", "LC")
    assert after.bytes_per_second is None
    assert (after.width, after.height) == (320, 180)
    assert (after.captions, after.captions_url) == (Captions.ABSENT, None)
    assert scratch_files(tmp_path) == []
    with av.open(str(file)) as container:
        assert sum(1 for _ in container.decode(video=0)) > 10


def test_captions_are_stored_beside_the_film(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    export = finished(sessions, tmp_path, emulator, captions=True)
    download(make_kit(sessions, tmp_path, emulator=emulator), export.id)
    after = reload(sessions, export)
    assert after.captions is Captions.PRESENT
    film, captions = stored_files(tmp_path)
    assert captions == film.with_suffix(".ttml")
    assert unquote(urlsplit(str(after.captions_url)).path) == str(captions)
    assert export.asset in captions.read_text()


@pytest.mark.parametrize("kind", ["forbidden", "html", "reset_before", "empty"])
def test_captions_that_cannot_be_told_never_hold_up_the_film(
    sessions: Sessions, tmp_path: Path, emulator: Emulator, kind: str
) -> None:
    export = finished(sessions, tmp_path, emulator, captions=True)
    emulator.control.fault("captions", kind)
    clock = Clock()
    report = download(make_kit(sessions, tmp_path, emulator=emulator, now=clock), export.id)
    after = reload(sessions, export)
    assert (after.state, after.captions) == (State.STORED, Captions.UNKNOWN)
    assert (after.captions_url, after.due_at) == (None, None)
    assert after.captions_due_at == clock.time + pace.CAPTIONS_AGAIN[0]
    assert report.wakes == (Wake(Step.CAPTIONS, at=after.captions_due_at),)
    assert after.captions_note
    film, *others = stored_files(tmp_path)
    assert film.suffix == ".mp4"
    assert [path.suffix for path in others] == ([".rejected"] if kind == "html" else [])


@pytest.mark.parametrize(
    ("audio", "mismatch", "state", "code"),
    [
        (Audio.AAC_LC, "fail", State.STORED, None),
        (Audio.HE_AAC, "warn", State.STORED, None),  # the emulator can make AAC-LC only
        (Audio.HE_AAC, "fail", State.FAILED, "audio_mismatch"),
    ],
)
def test_sound_that_was_not_asked_for_is_warned_of_or_fails(
    sessions: Sessions,
    tmp_path: Path,
    emulator: Emulator,
    audio: Audio,
    mismatch: str,
    state: State,
    code: str | None,
) -> None:
    export = finished(sessions, tmp_path, emulator)
    with sessions.begin() as session:
        session.get_one(Export, export.id).audio = audio
    with capture_logs() as logs:
        download(
            make_kit(sessions, tmp_path, emulator=emulator, audio_mismatch=mismatch), export.id
        )
    after = reload(sessions, export)
    assert (after.state, after.error_code) == (state, code)
    assert any(line["event"] == "sound is another" for line in logs) is (audio is Audio.HE_AAC)
    assert scratch_files(tmp_path) == []


@pytest.mark.parametrize(
    ("asset_seconds", "mismatch", "state", "is_warned_of"),
    [
        (5.9, "fail", State.STORED, False),
        (6.5, "fail", State.FAILED, True),
        (6.5, "warn", State.STORED, True),
        (0.2, "fail", State.STORED, False),  # a film that is longer lacks nothing
    ],
)
def test_a_film_that_is_shorter_than_its_asset_fails_or_is_warned_of(
    sessions: Sessions,
    tmp_path: Path,
    emulator: Emulator,
    asset_seconds: float,
    mismatch: str,
    state: State,
    *,
    is_warned_of: bool,
) -> None:
    export = finished(sessions, tmp_path, emulator)
    kit = make_kit(sessions, tmp_path, emulator=emulator, duration_mismatch=mismatch)
    emulator.control.fault("asset/get", "malformed", member="duration", value=asset_seconds)
    with capture_logs() as logs:
        download(kit, export.id)
    after = reload(sessions, export)
    assert after.state is state
    assert any(line["event"] == "duration is another" for line in logs) is is_warned_of
    assert bool(stored_files(tmp_path)) is (state is State.STORED)
    assert scratch_files(tmp_path) == []
    if state is State.FAILED:
        assert after.error_code == "duration_mismatch"
        said = "the film lasts 1.0 s, and its asset 6.5 s (DURATION_MISMATCH)"
        assert after.error_message == said
    else:
        assert after.asset_duration_seconds == asset_seconds


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        ("hang", {"cap_seconds": 0.1}),
        ("reset_before", {}),
        ("html", {}),
        ("empty", {}),
        ("status", {"status": 503}),
        ("error", {"code": 7, "msg": "No such call"}),
        ("malformed", {"member": "id", "value": "another"}),
        ("malformed", {"member": "duration", "missing": True}),
    ],
)
def test_no_film_waits_for_its_assets_duration(
    sessions: Sessions, tmp_path: Path, emulator: Emulator, kind: str, parameters: dict[str, Any]
) -> None:
    export = finished(sessions, tmp_path, emulator)
    emulator.control.fault("asset/get", kind, **parameters)
    download(make_kit(sessions, tmp_path, emulator=emulator), export.id)
    after = reload(sessions, export)
    assert (after.state, after.asset_duration_seconds) == (State.STORED, None)
    assert emulator.control.calls()["calls"]["asset/get"] == 1


BROKEN: list[tuple[str, dict[str, object], str]] = [
    ("truncate", {"bytes": 1000}, "file_broken_off"),
    ("cut", {"bytes": 1000}, "file_broken_off"),
    ("short", {"bytes": 5000}, "file_not_whole"),
    ("login_page", {}, "file_not_whole"),
    ("empty", {}, "file_not_whole"),
    ("html", {}, "file_not_whole"),
    ("status", {"status": 503, "retry_after": "30"}, "file_unavailable"),
    ("reset_before", {}, "file_unreachable"),
]


@pytest.mark.parametrize(("kind", "parameters", "code"), BROKEN)
def test_a_broken_file_is_never_stored_and_is_brought_again(
    sessions: Sessions,
    tmp_path: Path,
    emulator: Emulator,
    kind: str,
    parameters: dict[str, object],
    code: str,
) -> None:
    export = finished(sessions, tmp_path, emulator)
    emulator.control.fault("media", kind, **parameters)
    clock = Clock()
    kit = make_kit(sessions, tmp_path, emulator=emulator, now=clock)
    report = download(kit, export.id)
    emulator.control.clear_faults()
    after = reload(sessions, export)
    assert report.facts["error"] == code
    assert (after.state, after.attempts, after.claim) == (State.DOWNLOADING, 1, None)
    assert after.due_at is not None
    asked_to_wait = timedelta(seconds=int(str(parameters.get("retry_after", 0))))
    assert after.due_at > clock.time + asked_to_wait
    assert report.wakes == (Wake(Step.SWEEP, at=after.due_at),)
    assert stored_files(tmp_path) == []
    # what broke off is gone on with; what came whole and is no film is not kept
    assert bool(scratch_files(tmp_path)) is (code == "file_broken_off")
    clock.time = after.due_at
    download(kit, export.id)
    after = reload(sessions, export)
    assert (after.state, after.attempts) == (State.STORED, 0)
    assert scratch_files(tmp_path) == []
    assert after.sha256 == emulator.control.media(str(export.job_id))["sha256"]


def test_a_file_without_a_declared_length_is_stored_when_it_is_whole(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    export = finished(sessions, tmp_path, emulator)
    emulator.control.fault("media", "no_length")
    download(make_kit(sessions, tmp_path, emulator=emulator), export.id)
    assert reload(sessions, export).state is State.STORED


@pytest.mark.parametrize("kind", ["not_found", "forbidden"])
def test_a_url_that_is_gone_is_asked_for_again(
    sessions: Sessions, tmp_path: Path, emulator: Emulator, kind: str
) -> None:
    export = finished(sessions, tmp_path, emulator)
    emulator.control.fault("media", kind, times=2)
    clock = Clock()
    kit = make_kit(sessions, tmp_path, emulator=emulator, now=clock)
    for attempt in (1, 2):
        report = download(kit, export.id)
        gone = reload(sessions, export)
        assert (gone.state, gone.attempts) == (State.EXPORTING, attempt)
        assert report.wakes == (Wake(Step.POLL, at=gone.due_at),)
        assert gone.due_at is not None
        clock.time = gone.due_at
        poll(kit)
        assert reload(sessions, export).attempts == attempt, "the failing goes on"
    download(kit, export.id)
    after = reload(sessions, export)
    assert (after.state, after.attempts, after.failing_since) == (State.STORED, 0, None)


@repeats
def test_a_url_that_stays_gone_fails_the_export_in_words(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    export = finished(sessions, tmp_path, emulator)
    emulator.control.fault("media", "not_found")
    clock = Clock()
    kit = make_kit(sessions, tmp_path, emulator=emulator, now=clock, export_deadline_hours=1000)
    for _ in range(400):
        if reload(sessions, export).state is State.FAILED:
            break
        poll(kit)
        download(kit, export.id)
        clock.move(minutes=10)
    after = reload(sessions, export)
    assert (after.state, after.error_code) == (State.FAILED, "file_unavailable")
    assert "it was tried for 24 hours" in (after.error_message or "")


def test_a_host_that_is_not_listed_is_not_asked_and_the_export_waits_for_the_setting(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    export = finished(sessions, tmp_path, emulator)
    kit = make_kit(sessions, tmp_path, emulator=emulator, download_hosts="uplynk.com")
    download(kit, export.id)
    after = reload(sessions, export)
    assert (after.state, after.attempts) == (State.DOWNLOADING, 1), "it is paid for"
    assert emulator.control.calls()["calls"].get("media", 0) == 0


def unwritable(tmp_path: Path) -> str:
    (tmp_path / "a file").write_text("no folder")
    return str(tmp_path / "a file" / "below")


@pytest.mark.parametrize(
    ("setting", "code"),
    [("storage_url", "storage_unavailable"), ("scratch_dir", "scratch_unwritable")],
)
def test_a_place_that_cannot_be_written_is_tried_again(
    sessions: Sessions, tmp_path: Path, emulator: Emulator, setting: str, code: str
) -> None:
    export = finished(sessions, tmp_path, emulator)
    members: dict[str, Any] = {setting: unwritable(tmp_path)}
    kit = make_kit(sessions, tmp_path, emulator=emulator, **members)
    report = download(kit, export.id)
    after = reload(sessions, export)
    assert report.facts["error"] == code
    assert (after.state, after.attempts) == (State.DOWNLOADING, 1)


def test_two_workers_with_the_same_message_bring_it_once(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    export = finished(sessions, tmp_path, emulator)
    before = emulator.control.calls()["calls"].get("media", 0)
    kits = [make_kit(sessions, tmp_path, emulator=emulator) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        states = list(pool.map(lambda kit: download(kit, export.id).facts["state"], kits))
    assert sorted(map(str, states)) == ["not due", "not due", "stored"]
    assert emulator.control.calls()["calls"]["media"] == before + 1


def test_a_message_that_comes_late_brings_what_is_most_urgent_instead(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    done = make_export(sessions, state=State.STORED, due_at=None)
    waiting = finished(sessions, tmp_path, emulator)
    download(make_kit(sessions, tmp_path, emulator=emulator), done.id)
    assert reload(sessions, waiting).state is State.STORED


def test_a_message_brings_what_is_more_urgent_than_what_it_names(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    named, urgent = (finished(sessions, tmp_path, emulator, captions=False) for _ in range(2))
    with sessions.begin() as session:
        session.get_one(Export, urgent.id).priority = 9
    kit = make_kit(sessions, tmp_path, emulator=emulator)
    assert download(kit, named.id).facts["export_id"] == str(urgent.id)
    assert download(kit, named.id).facts["export_id"] == str(named.id)


def test_a_file_whose_job_is_soon_erased_goes_before_all_others(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    urgent, old = (finished(sessions, tmp_path, emulator, captions=False) for _ in range(2))
    with sessions.begin() as session:
        session.get_one(Export, urgent.id).priority = 9
        session.get_one(Export, old.id).done_at = datetime.now(UTC) - timedelta(hours=49)
    kit = make_kit(sessions, tmp_path, emulator=emulator)
    assert download(kit, urgent.id).facts["export_id"] == str(old.id)
    assert download(kit, urgent.id).facts["export_id"] == str(urgent.id)


def test_one_message_has_all_files_brought_that_are_due(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    first, second = (finished(sessions, tmp_path, emulator) for _ in range(2))
    report = downloads(make_kit(sessions, tmp_path, emulator=emulator), first.id)
    assert report.facts["stored"] == len((first, second))
    assert report.facts["state"] == State.STORED, "and not how it found that there is no other"
    assert report.wakes == ()


def test_how_long_films_should_be_that_wait_is_asked_for_together(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    first, second = (finished(sessions, tmp_path, emulator) for _ in range(2))
    downloads(make_kit(sessions, tmp_path, emulator=emulator), first.id)
    for each in (first, second):
        assert reload(sessions, each).asset_duration_seconds is not None
    assert emulator.control.calls()["calls"]["asset/get"] == 1


def test_where_many_are_refused_each_is_asked_for_by_itself(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    first, second = (finished(sessions, tmp_path, emulator) for _ in range(2))
    emulator.control.fault("asset/get", "error", times=1, code=7, msg="No such call")
    downloads(make_kit(sessions, tmp_path, emulator=emulator), first.id)
    for each in (first, second):
        assert reload(sessions, each).asset_duration_seconds is not None
    assert emulator.control.calls()["calls"]["asset/get"] == len((first, second)) + 1


def test_a_message_that_took_long_begins_no_other_file_and_wakes_the_next(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    first, second = (finished(sessions, tmp_path, emulator) for _ in range(2))
    kit = make_kit(sessions, tmp_path, emulator=emulator, now=hurried(tmp_path))
    report = downloads(kit, first.id)
    assert report.facts["stored"] == 1
    assert report.wakes == (Wake(Step.DOWNLOAD, first.id),)
    assert reload(sessions, second).state is State.DOWNLOADING


def hurried(tmp_path: Path) -> Callable[[], datetime]:
    """Return a clock that jumps ahead when the first file is in storage."""

    def now() -> datetime:
        return datetime.now(UTC) + (MOST_TIME if stored_files(tmp_path) else timedelta())

    return now


def test_where_one_can_not_be_stored_the_others_wait_for_their_own_time(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    first, second = (finished(sessions, tmp_path, emulator) for _ in range(2))
    emulator.control.fault("media", "status", times=1, status=500)
    report = downloads(make_kit(sessions, tmp_path, emulator=emulator), first.id)
    assert report.facts["stored"] == 0
    assert Counter(reload(sessions, each).attempts for each in (first, second)) == {0: 1, 1: 1}


def slow(kit: Kit, export: Export, emulator: Emulator, meanwhile: Callable[[], None]) -> str:
    """Bring the export's file slowly, and do something meanwhile; returns how it ended."""
    emulator.control.fault("media", "throttle", bytes_per_second=8000)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(download, kit, export.id)
        wait_until(lambda: scratch_files(Path(kit.settings.scratch_dir).parent))
        meanwhile()
        return str(running.result().facts["state"])


def test_a_long_download_keeps_its_claim_and_tells_its_progress(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    export = finished(sessions, tmp_path, emulator, media_size_bytes=40_000)
    kit = make_kit(sessions, tmp_path, emulator=emulator, claim_seconds=2)
    claim = []

    def watch() -> None:
        first = reload(sessions, export)
        claim.append(first.claim)

        def renewed() -> bool:
            now = reload(sessions, export)
            assert now.claim == first.claim
            return now.claimed_until != first.claimed_until and now.bytes_total == 40_000

        wait_until(renewed)
        wait_until(lambda: reload(sessions, export).bytes_per_second, what="a rate")
        now = reload(sessions, export)
        assert now.seconds_left is not None
        assert 0 < now.seconds_left < 60
        assert re.fullmatch(r"[\d.]+ \w+ of 40.0 kB, [\d.]+ \w+/s, 0:00:\d\d left", progress(now))

    assert slow(kit, export, emulator, watch) == "stored"
    assert claim != [None]


def test_a_download_that_lost_its_claim_stops_and_changes_nothing(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    export = finished(sessions, tmp_path, emulator, media_size_bytes=100_000)
    kit = make_kit(sessions, tmp_path, emulator=emulator, claim_seconds=2)
    other = uuid4()

    def take_over() -> None:
        with sessions.begin() as session:
            session.get_one(Export, export.id).claim = other

    assert slow(kit, export, emulator, take_over) == "taken over"
    after = reload(sessions, export)
    assert (after.state, after.claim, after.attempts) == (State.DOWNLOADING, other, 0)
    assert stored_files(tmp_path) == []


def test_what_a_killed_download_left_is_removed_by_the_next(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    export = finished(sessions, tmp_path, emulator)
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch" / f"{export.id}-{uuid4()}.part").write_bytes(b"half")
    download(make_kit(sessions, tmp_path, emulator=emulator), export.id)
    assert scratch_files(tmp_path) == []


def test_a_download_that_kills_its_worker_each_time_ends_in_words(
    sessions: Sessions, tmp_path: Path, emulator: Emulator
) -> None:
    export = finished(sessions, tmp_path, emulator)
    clock = Clock()
    kit = make_kit(sessions, tmp_path, emulator=emulator, now=clock)
    for _ in range(30):  # a worker takes it, and is never heard of again
        with sessions.begin() as session:
            claims.take(
                session, State.DOWNLOADING, now=clock.time, until=clock.time + timedelta(hours=2)
            )
        clock.move(hours=2)
    report = download(kit, export.id)
    after = reload(sessions, export)
    assert report.facts["error"] == "step_died"
    assert (after.state, after.error_code) == (State.FAILED, "step_died")


@pytest.mark.parametrize("hours", [40, 60])
def test_two_failures_a_weekend_apart_are_no_day_of_failing(
    sessions: Sessions, tmp_path: Path, emulator: Emulator, hours: int
) -> None:
    export = finished(sessions, tmp_path, emulator)
    emulator.control.fault("media", "status", status=503, times=2)
    clock = Clock()
    kit = make_kit(sessions, tmp_path, emulator=emulator, now=clock)
    download(kit, export.id)
    clock.move(hours=hours)
    download(kit, export.id)
    after = reload(sessions, export)
    assert (after.state, after.attempts) == (State.DOWNLOADING, 2)
