"""Cloud Slicer: each call over real HTTP, signed anew, and what its answer becomes."""

import base64
import json
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import pytest

from emulator.server import Emulator
from tests.factories import ACCOUNT, Clock, an_asset
from tests.raw_server import Heard, http, raw_server
from tests.slicers import make_slicer
from worker.cloudslicer import Job, JobState
from worker.errors import ExportError, Permanent, Transient


def envelope(**members: Any) -> bytes:
    return json.dumps({"error": 0, **members}).encode()


def sent(heard: Heard) -> list[dict[str, Any]]:
    """Return the parameters of each request that the server got."""
    forms = [parse_qs(request.partition(b"\r\n\r\n")[2].decode()) for request in heard.requests]
    return [json.loads(zlib.decompress(base64.b64decode(form["msg"][0]))) for form in forms]


def test_an_export_is_made_watched_and_done(emulator: Emulator) -> None:
    slicer, asset = make_slicer(emulator.url), an_asset()
    made = slicer.create_export(asset, aaclc=False)
    assert (made.state, made.asset, made.is_export) == (JobState.ASSIGNED, asset, True)
    assert made.url is None
    emulator.control.advance(60)
    done = slicer.get_job(made.id)
    assert done.state is JobState.DONE
    assert done.url is not None
    assert done.url.startswith(emulator.url)
    assert done.started_at is not None
    assert done.finished_at is not None
    assert done.finished_at - done.started_at == timedelta(seconds=1)


def test_the_audio_codec_is_asked_for(emulator: Emulator) -> None:
    slicer = make_slicer(emulator.url)
    assert slicer.create_export(an_asset(), aaclc=True).aaclc is True
    assert slicer.create_export(an_asset(), aaclc=False).aaclc in {None, False}


def test_he_aac_is_what_leaving_aaclc_out_means() -> None:
    job = envelope(job={"id": "j", "state": "waiting"})
    with raw_server(http(body=job)) as heard:
        slicer = make_slicer(heard.url)
        slicer.create_export("a", aaclc=False)
        slicer.create_export("a", aaclc=True)
    parameters = [{k: v for k, v in one.items() if k[0] != "_"} for one in sent(heard)]
    assert parameters == [{"asset": "a"}, {"asset": "a", "aaclc": 1}]


def test_each_attempt_is_signed_anew_with_the_present_time() -> None:
    clock = Clock(datetime(2026, 1, 1, tzinfo=UTC))
    with raw_server(http(body=envelope(job={"id": "j", "state": "waiting"}))) as heard:
        slicer = make_slicer(heard.url, now=clock)
        slicer.get_job("j")
        clock.move(seconds=1)
        slicer.get_job("j")
    one, two = heard.requests
    assert one != two
    assert [attempt["_timestamp"] for attempt in sent(heard)] == [1_767_225_600, 1_767_225_601]
    assert {attempt["_owner"] for attempt in sent(heard)} == {ACCOUNT}


def test_an_attempt_after_a_failure_is_signed_anew_too() -> None:
    clock = Clock()
    with raw_server(http("503 Busy"), http(body=envelope(jobs=[]))) as heard:
        slicer = make_slicer(heard.url, now=clock)
        with pytest.raises(Transient):
            slicer.list_jobs(limit=1)
        clock.move(minutes=5)
        slicer.list_jobs(limit=1)
    one, two = (attempt["_timestamp"] for attempt in sent(heard))
    assert two - one == 300


def test_a_call_is_a_form_with_two_fields_posted_to_its_path() -> None:
    with raw_server(http(body=envelope(jobs=[]))) as heard:
        make_slicer(heard.url).list_jobs(limit=7, skip=3)
    head, _, body = heard.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /api2/cloudslicer/jobs/list HTTP/1.1\r\n")
    assert b"Content-Type: application/x-www-form-urlencoded" in head.split(b"\r\n")
    assert sorted(parse_qs(body.decode())) == ["msg", "sig"]
    assert sent(heard)[0]["limit"] == 7
    assert sent(heard)[0]["skip"] == 3


def test_a_job_that_was_erased_is_not_found(emulator: Emulator) -> None:
    slicer = make_slicer(emulator.url)
    job = slicer.create_export(an_asset(), aaclc=False)
    emulator.control.advance(73 * 3600)
    with pytest.raises(Permanent) as refused:
        slicer.get_job(job.id)
    assert refused.value.code == "uplynk_not_found"


def test_the_list_shows_jobs_of_all_kinds(emulator: Emulator) -> None:
    slicer = make_slicer(emulator.url)
    made = [slicer.create_export(an_asset(), aaclc=False).id for _ in range(3)]
    jobs = slicer.list_jobs(limit=100)
    assert set(made) <= {job.id for job in jobs}
    assert {job.is_export for job in jobs} == {True, False}
    paged = [slicer.list_jobs(limit=1, skip=at)[0].id for at in range(len(jobs))]
    assert paged == [job.id for job in jobs]


@pytest.mark.parametrize("member", ["jobs", "items", "result"])
def test_the_list_may_have_any_name(member: str) -> None:
    body = envelope(total=1, **{member: [{"id": "a", "state": "done"}]})
    with raw_server(http(body=body)) as heard:
        assert make_slicer(heard.url).list_jobs(limit=1) == [Job(id="a", word="done")]


def test_entries_that_are_no_jobs_are_left_out() -> None:
    entries: list[object] = [None, 5, "x", [], {}, {"id": 1, "state": "done"}, {"id": "a"}]
    with raw_server(http(body=envelope(jobs=[*entries, {"id": "b", "state": "new"}]))) as heard:
        assert make_slicer(heard.url).list_jobs(limit=9) == [Job(id="b", word="new")]


@pytest.mark.parametrize(
    "members",
    [{}, {"jobs": {}}, {"jobs": "x"}, {"jobs": 0}, {"jobs": None}, {"a": [], "b": []}],
)
def test_without_a_list_absence_is_not_known(members: dict[str, object]) -> None:
    with raw_server(http(body=envelope(**members))) as heard, pytest.raises(Transient) as failed:
        make_slicer(heard.url).list_jobs(limit=1)
    assert str(failed.value) == "uplynk_unreadable: Uplynk answered jobs/list without a list"


def test_an_empty_list_is_a_list() -> None:
    with raw_server(http(body=envelope(jobs=[]))) as heard:
        assert make_slicer(heard.url).list_jobs(limit=1) == []


def test_a_job_is_cancelled_once(emulator: Emulator) -> None:
    slicer = make_slicer(emulator.url)
    job = slicer.create_export(an_asset(), aaclc=False)
    assert slicer.cancel_job(job.id).state is JobState.CANCELLED
    with pytest.raises(Permanent):
        slicer.cancel_job(job.id)


def test_a_completed_job_is_not_cancelled(emulator: Emulator) -> None:
    slicer = make_slicer(emulator.url)
    job = slicer.create_export(an_asset(), aaclc=False)
    emulator.control.advance(60)
    with pytest.raises(Permanent) as refused:
        slicer.cancel_job(job.id)
    assert refused.value.code == "uplynk_refused"


def test_a_job_that_nobody_knows_is_not_cancelled(emulator: Emulator) -> None:
    with pytest.raises(Permanent) as refused:
        make_slicer(emulator.url).cancel_job("f" * 32)
    assert refused.value.code == "uplynk_not_found"


@pytest.mark.parametrize("call", ["get_job", "cancel_job"])
def test_an_answer_about_another_job_is_not_taken(call: str) -> None:
    body = envelope(job={"id": "b", "state": "done"})
    with raw_server(http(body=body)) as heard, pytest.raises(Transient, match="another job"):
        getattr(make_slicer(heard.url), call)("a")


def test_jobs_are_deleted_or_why_not(emulator: Emulator) -> None:
    slicer = make_slicer(emulator.url)
    done = slicer.create_export(an_asset(), aaclc=False)
    emulator.control.advance(60)
    running = slicer.create_export(an_asset(), aaclc=False)
    outcome = slicer.delete_jobs([done.id, running.id, "f" * 32])
    assert outcome[done.id] == "deleted"
    assert outcome[running.id] != "deleted"
    assert outcome["f" * 32] == "Not found"


def test_actions_that_are_none_are_left_out() -> None:
    actions: list[object] = [["a", "deleted"], ["b"], None, "cd", ["d", 1], [["e"], "deleted"], {}]
    with raw_server(http(body=envelope(actions=actions))) as heard:
        assert make_slicer(heard.url).delete_jobs(["a"]) == {"a": "deleted"}


@pytest.mark.parametrize("actions", [None, {}, "deleted", 5])
def test_without_actions_nothing_is_known_to_be_deleted(actions: object) -> None:
    with raw_server(http(body=envelope(actions=actions))) as heard, pytest.raises(Transient):
        make_slicer(heard.url).delete_jobs(["a"])


@pytest.mark.parametrize("call", ["jobs/create_export", "jobs/get", "jobs/list", "jobs/cancel"])
def test_new_members_do_not_matter(call: str, emulator: Emulator) -> None:
    slicer, asset = make_slicer(emulator.url), an_asset()
    emulator.control.fault(call, "extra_members", members={"new": [1], "jobs2": {}})
    job = slicer.create_export(asset, aaclc=False)
    assert slicer.get_job(job.id).id == job.id
    assert job.id in [listed.id for listed in slicer.list_jobs(limit=100)]
    assert slicer.cancel_job(job.id).id == job.id


def test_a_state_that_nobody_has_heard_of_is_no_error(emulator: Emulator) -> None:
    slicer = make_slicer(emulator.url)
    job = slicer.create_export(an_asset(), aaclc=False)
    emulator.control.fault("jobs/get", "wrong_state", state="paused", times=1)
    assert slicer.get_job(job.id).state is JobState.UNKNOWN
    assert slicer.get_job(job.id).state is JobState.ASSIGNED


@pytest.mark.parametrize("changes", [{"key": "another-key"}, {"owner": "f" * 32}])
def test_a_wrong_key_or_account_fails_no_export(changes: Any, emulator: Emulator) -> None:
    with pytest.raises(ExportError) as failed:
        make_slicer(emulator.url, **changes).create_export(an_asset(), aaclc=False)
    assert (type(failed.value), failed.value.code) == (Transient, "uplynk_credentials")


def test_a_clock_that_is_wrong_fails_no_export(emulator: Emulator) -> None:
    slicer = make_slicer(emulator.url, now=Clock(datetime(2020, 1, 1, tzinfo=UTC)))
    with pytest.raises(ExportError) as failed:
        slicer.create_export(an_asset(), aaclc=False)
    assert (type(failed.value), failed.value.code) == (Transient, "uplynk_credentials")
