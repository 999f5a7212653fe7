"""The main job: what a CMS sends by name ends as a file in storage, or as a failure in words."""

import hashlib
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import av
from sqlalchemy import select

from models import Captions, Cleaning, Export, History, Request, State
from tests.acceptance.stage import Stage
from tests.factories import ACCOUNT, ASSET, an_asset
from tests.slicers import make_slicer
from tests.waiting import wait_until


def path_of(url: str | None) -> Path:
    return Path(unquote(urlsplit(str(url)).path))


def test_a_message_by_name_ends_as_a_film_and_its_captions_in_storage(
    stage: Stage, pool: str
) -> None:
    stage.emulator.control.asset(ASSET, captions=True)
    stage.start(pool)
    request_id = stage.send(asset=ASSET, aaclc=True, metadata={"article": 4711})
    export = stage.stored(request_id)
    (job,) = stage.emulator.control.jobs(ASSET)
    assert job["args"]["aaclc"] == 1
    film = path_of(export.storage_url)
    assert film == stage.folder / "exports" / ASSET / f"{export.id}.mp4"
    truth = stage.emulator.control.media(job["id"])
    assert hashlib.sha256(film.read_bytes()).hexdigest() == export.sha256 == truth["sha256"]
    assert export.size_bytes == film.stat().st_size == truth["size_bytes"]
    with av.open(str(film)) as container:
        assert sum(1 for _ in container.decode(video=0)) > 10
    assert export.captions is Captions.PRESENT
    assert ASSET in path_of(export.captions_url).read_text()
    with stage.sessions.begin() as session:
        history = session.scalars(select(History).order_by(History.id)).all()
        assert session.get_one(Request, request_id).metadata_ == {"article": 4711}
    assert [row.to_state for row in history] == [
        State.REQUESTED,
        State.SUBMITTING,
        State.EXPORTING,
        State.DOWNLOADING,
        State.STORED,
    ]
    wait_until(lambda: stage.messages() == 0, what="an empty broker")


def test_of_many_requests_at_once_none_waits_for_a_sweep(stage: Stage, pool: str) -> None:
    stage.settings["SWEEP_SECONDS"] = "600"
    stage.start(pool)
    for _ in range(15):
        stage.send(asset=an_asset())
    wait_until(lambda: len(stage.emulator.control.jobs()) == 15, what="a job for each")


def test_captions_that_could_not_be_told_are_asked_for_again(stage: Stage) -> None:
    stage.emulator.control.asset(ASSET, captions=True)
    stage.emulator.control.fault("captions", "forbidden", times=1)
    stage.start("threads")
    export_id = stage.stored(stage.send(asset=ASSET)).id
    with stage.sessions.begin() as session:
        export = session.get_one(Export, export_id)
        assert export.captions is Captions.UNKNOWN
        export.captions_due_at = export.state_since  # as if its minute were over

    def found() -> str | None:
        with stage.sessions.begin() as session:
            return session.get_one(Export, export_id).captions_url

    assert ASSET in path_of(wait_until(found, what="captions")).read_text()


def test_a_job_whose_file_is_stored_goes_off_uplynks_list_and_no_other(
    stage: Stage, pool: str
) -> None:
    uplynk = make_slicer(stage.emulator.url)
    others = [uplynk.create_export(an_asset(), aaclc=False).id for _ in range(2)]
    stage.settings["DELETE_JOBS_AFTER_HOURS"] = "0.0003"  # a second
    stage.start(pool)
    jobs = {stage.stored(stage.send(asset=an_asset())).job_id for _ in range(2)}

    def exports_listed() -> set[str]:
        return {job.id for job in uplynk.list_jobs(limit=100) if job.is_export}

    wait_until(lambda: jobs.isdisjoint(exports_listed()), what="a list without our jobs")
    assert exports_listed() == set(others)
    wait_until(
        lambda: all(export.job_delete_at is None for export in stage.exports()), what="the record"
    )
    assert all(export.state is State.STORED for export in stage.exports())


def test_records_go_when_they_are_old_and_the_file_stays(stage: Stage) -> None:
    stage.settings["KEEP_RECORDS_DAYS"] = "30"
    stage.start("prefork")
    old, young = stage.stored(stage.send(asset=an_asset())), stage.send(asset=an_asset())
    stage.stored(young)
    with stage.sessions.begin() as session:  # as if it were a month later
        session.get_one(Export, old.id).state_since -= timedelta(days=31)
        row = session.get_one(Cleaning, ACCOUNT)
        row.due_at -= timedelta(hours=1)
    wait_until(lambda: len(stage.exports()) == 1, what="the record to go")
    assert stage.request(young) is not None
    assert path_of(old.storage_url).exists()


def test_the_same_message_three_times_makes_one_export(stage: Stage, pool: str) -> None:
    stage.start(pool)
    for _ in range(3):
        stage.send("request-1", asset=ASSET)
    stage.stored("request-1")
    stage.send("request-1", asset=ASSET)
    wait_until(lambda: stage.messages() == 0, what="an empty broker")
    assert len(stage.exports()) == len(stage.emulator.control.jobs(ASSET)) == 1


def test_two_requests_for_one_asset_share_one_job(stage: Stage, pool: str) -> None:
    stage.start(pool)
    first, second = stage.send(asset=ASSET), stage.send(asset=ASSET, priority=5)
    assert stage.stored(first).id == stage.stored(second).id
    assert len(stage.emulator.control.jobs(ASSET)) == 1


BAD: list[tuple[dict[str, Any], str]] = [
    ({"asset": "not-an-id"}, "asset: must be an asset's id: 32 hex digits in lower case"),
    ({"asset": ASSET, "colour": "red"}, "colour: is no argument of exports.create"),
    ({"asset": ASSET, "aaclc": "yes"}, "aaclc: Input should be a valid boolean"),
    ({}, "asset: is missing"),
]


def test_bad_requests_end_in_clear_failures_and_the_worker_goes_on(stage: Stage, pool: str) -> None:
    stage.start(pool)
    sent = [(stage.send(**arguments), says) for arguments, says in BAD]
    for request_id, says in sent:
        request = stage.ended(request_id)
        assert request.state is State.FAILED
        assert request.error is not None
        assert request.error[0] == "invalid_request"
        assert says in request.error[1]
    stage.send("x" * 200, asset=ASSET)  # an id that can't be kept
    stage.stored(stage.send(asset=an_asset()))
    assert len(stage.exports()) == 1
    assert "the task id must have 1 to 155 characters" in (stage.folder / "worker.log").read_text()


def test_an_export_that_uplynk_fails_ends_with_its_words(stage: Stage) -> None:
    stage.emulator.control.asset(ASSET, fail_attempts=3, last_error="no video track")
    stage.start("threads")
    request = stage.ended(stage.send(asset=ASSET))
    assert request.error is not None
    assert request.error[0] == "export_error"
    assert "no video track" in request.error[1]


def test_slow_downloads_never_hold_up_the_short_steps(stage: Stage, pool: str) -> None:
    stage.emulator.control.fault("media", "throttle", bytes_per_second=500)
    stage.start(pool)
    slow = [stage.send(asset=an_asset()) for _ in range(6)]
    for request_id in slow:
        stage.reaches(request_id, State.DOWNLOADING)
    stage.reaches(stage.send(asset=an_asset()), State.DOWNLOADING)
    stage.emulator.control.clear_faults()


def test_a_worker_for_each_queue_does_as_one_for_both(stage: Stage) -> None:
    stage.start("prefork", queues="exports")
    stage.start("threads", queues="downloads")
    stage.stored(stage.send(asset=ASSET))


def test_the_solo_pool_does_the_main_job_too(stage: Stage) -> None:
    stage.start("solo")
    stage.stored(stage.send(asset=ASSET))


def test_celery_answers_as_any_user_expects(stage: Stage, pool: str) -> None:
    stage.start(pool)
    pong = wait_until(
        lambda: answer if (answer := stage.celery("inspect", "ping")).returncode == 0 else None
    )
    assert "pong" in pong.stdout
    registered = stage.celery("inspect", "registered").stdout
    for task in ("create", "submit", "poll", "download", "sweep", "clean"):
        assert f"exports.{task}" in registered
