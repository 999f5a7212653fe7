"""Cloud Slicer: a clock that is minutes off costs one refused call, and no export."""

import base64
import json
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs

import pytest
import requests
from pydantic import SecretStr

from emulator.server import Emulator
from emulator.settings import EmulatorSettings
from tests.factories import ACCOUNT, KEY, Clock, an_asset
from tests.raw_server import Heard, Say, http, raw_server
from tests.slicers import make_slicer, real_now
from worker.cloudslicer import CloudSlicer
from worker.errors import OutcomeUnknown, Permanent, Transient

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
BAD_SIGNATURE = {"error": 1, "msg": "Bad signature"}
MADE = {"error": 0, "job": {"id": "j", "state": "waiting"}}


@pytest.fixture(params=[600.0, -600.0])
def skewed(request: pytest.FixtureRequest) -> Iterator[Emulator]:
    """Give an emulator whose clock is ten minutes off; it tolerates five."""
    with Emulator(EmulatorSettings(clock_skew_seconds=request.param, run_seconds=1.0)) as emulator:
        yield emulator


def calls(emulator: Emulator) -> dict[str, int]:
    counted: dict[str, int] = emulator.control.calls()["calls"]
    return counted


def dated(answer: dict[str, Any], date: datetime, status: str = "200 OK") -> Say:
    return http(status, json.dumps(answer).encode(), Date=format_datetime(date, usegmt=True))


def stamps(heard: Heard) -> list[int]:
    """Return the time that each request was signed with, less noon."""
    forms = [parse_qs(request.partition(b"\r\n\r\n")[2].decode()) for request in heard.requests]
    packed = [zlib.decompress(base64.b64decode(form["msg"][0])) for form in forms]
    return [json.loads(message)["_timestamp"] - int(NOON.timestamp()) for message in packed]


def test_every_call_works_at_the_cost_of_one_refused(skewed: Emulator) -> None:
    slicer, asset = make_slicer(skewed.url), an_asset()
    job = slicer.create_export(asset, aaclc=False)
    assert slicer.get_job(job.id).id == job.id
    assert job.id in [listed.id for listed in slicer.list_jobs(limit=100)]
    slicer.cancel_job(job.id)
    assert slicer.delete_jobs([job.id]) == {job.id: "deleted"}
    assert calls(skewed) == {
        "jobs/create_export": 2,
        "jobs/get": 1,
        "jobs/list": 1,
        "jobs/cancel": 1,
        "jobs/delete": 1,
    }
    assert len(skewed.control.jobs(asset)) == 1


@pytest.mark.parametrize("call", ["get_job", "cancel_job"])
def test_a_refusal_of_the_job_itself_is_told_all_the_same(call: str, skewed: Emulator) -> None:
    slicer = make_slicer(skewed.url)
    for _ in range(3):
        with pytest.raises(Permanent) as refused:
            getattr(slicer, call)("f" * 32)
        assert refused.value.code == "uplynk_not_found"
    assert sum(calls(skewed).values()) == 4


def test_the_skew_can_be_asked_for(skewed: Emulator) -> None:
    slicer = make_slicer(skewed.url)
    assert slicer.skew is None
    slicer.list_jobs(limit=1)
    assert slicer.skew is not None
    off = slicer.skew - timedelta(seconds=skewed.settings.clock_skew_seconds)
    assert abs(off) < timedelta(seconds=3)


def test_threads_share_what_was_learnt(skewed: Emulator) -> None:
    slicer = make_slicer(skewed.url)
    slicer.list_jobs(limit=1)
    assets = [an_asset() for _ in range(12)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda asset: slicer.create_export(asset, aaclc=False), assets))
    assert calls(skewed) == {"jobs/list": 2, "jobs/create_export": 12}
    assert [len(skewed.control.jobs(asset)) for asset in assets] == [1] * 12


def test_threads_that_are_refused_together_each_ask_once_more(skewed: Emulator) -> None:
    slicer = make_slicer(skewed.url)
    assets = [an_asset() for _ in range(8)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda asset: slicer.create_export(asset, aaclc=False), assets))
    assert [len(skewed.control.jobs(asset)) for asset in assets] == [1] * 8
    assert calls(skewed)["jobs/create_export"] <= 8 + 4


@pytest.mark.parametrize("changes", [{"key": "another-key"}, {"owner": "f" * 32}])
def test_a_wrong_key_is_one_error_whatever_the_clock(changes: Any, skewed: Emulator) -> None:
    slicer = make_slicer(skewed.url, **changes)
    for so_far in (2, 4, 6):
        with pytest.raises(Transient) as failed:
            slicer.create_export(an_asset(), aaclc=False)
        assert (type(failed.value), failed.value.code) == (Transient, "uplynk_credentials")
        assert calls(skewed) == {"jobs/create_export": so_far}


def test_a_wrong_key_under_a_right_clock_is_not_even_tried_again(emulator: Emulator) -> None:
    with pytest.raises(Transient, match="UPLYNK_API_KEY"):
        make_slicer(emulator.url, key="another-key").create_export(an_asset(), aaclc=False)
    assert calls(emulator) == {"jobs/create_export": 1}


def test_a_clock_that_jumps_is_learnt_anew(emulator: Emulator) -> None:
    off = [timedelta()]
    slicer = make_slicer(emulator.url, now=lambda: real_now() + off[0])
    for minutes, expected in [(0, 1), (30, 3), (30, 4), (-45, 6), (-45, 7), (0, 9), (0, 10)]:
        off[0] = timedelta(minutes=minutes)
        slicer.list_jobs(limit=1)
        assert calls(emulator)["jobs/list"] == expected, minutes


def test_the_second_attempt_is_signed_anew_by_the_servers_clock() -> None:
    clock, ahead = Clock(NOON), NOON + timedelta(minutes=10)
    with raw_server(dated(BAD_SIGNATURE, ahead), dated(MADE, ahead)) as heard:
        slicer = make_slicer(heard.url, now=clock)
        slicer.create_export("a", aaclc=True)
        slicer.get_job("j")
    assert stamps(heard) == [0, 600, 600]
    forms = [request.partition(b"\r\n\r\n")[2] for request in heard.requests]
    assert forms[0] != forms[1]


def test_there_is_never_a_third_attempt() -> None:
    wild = [NOON + timedelta(hours=hours) for hours in (1, 2, 3)]
    with raw_server(*(dated(BAD_SIGNATURE, date) for date in wild)) as heard:
        with pytest.raises(Transient) as failed:
            make_slicer(heard.url, now=Clock(NOON)).create_export("a", aaclc=False)
        assert failed.value.code == "uplynk_credentials"
    assert stamps(heard) == [0, 3600]


@pytest.mark.parametrize(
    "answer",
    [
        http("403 No", b"<html>", Date="Thu, 01 Jan 2026 13:00:00 GMT"),
        http("401 No", b"", Date="Thu, 01 Jan 2026 13:00:00 GMT"),
        dated({"error": 0}, NOON + timedelta(hours=1), "403 No"),
        dated({**MADE, "msg": "Bad signature"}, NOON + timedelta(hours=1), "401 No"),
        dated(BAD_SIGNATURE, NOON + timedelta(hours=1), "500 Oops"),
        dated(BAD_SIGNATURE, NOON + timedelta(hours=1), "429 Slowly"),
        dated({"error": 1, "msg": "No audio"}, NOON + timedelta(hours=1)),
        dated(BAD_SIGNATURE, NOON + timedelta(seconds=4)),
        http(body=json.dumps(BAD_SIGNATURE).encode()),
        http(body=json.dumps(BAD_SIGNATURE).encode(), Date="yesterday"),
    ],
    ids=lambda answer: repr(answer.head[9:16] + answer.head[-30:]),
)
def test_only_a_refused_signature_is_a_reason_to_ask_again(answer: Say) -> None:
    with raw_server(answer) as heard, pytest.raises((Transient, Permanent)):
        make_slicer(heard.url, now=Clock(NOON)).create_export("a", aaclc=False)
    assert stamps(heard) == [0]


def test_a_second_attempt_that_breaks_off_leaves_open_what_happened() -> None:
    with (
        raw_server(dated(BAD_SIGNATURE, NOON + timedelta(hours=1)), Say()) as heard,
        pytest.raises(OutcomeUnknown),
    ):
        make_slicer(heard.url, now=Clock(NOON)).create_export("a", aaclc=False)
    assert len(heard.requests) == 2


def test_a_date_that_is_wrong_spoils_no_call_that_works() -> None:
    answers = [dated(MADE, NOON + timedelta(hours=9)) for _ in range(3)]
    with raw_server(*answers) as heard:
        slicer = make_slicer(heard.url, now=Clock(NOON))
        for _ in answers:
            slicer.get_job("j")
        assert slicer.skew == timedelta(hours=9, seconds=0.5)
    assert stamps(heard) == [0, 0, 0], "what is accepted needs no correction"


def test_a_date_that_is_wrong_outlasts_no_key_that_is_mended() -> None:
    late = NOON + timedelta(hours=9)
    with raw_server(*[dated(BAD_SIGNATURE, late)] * 2, dated(MADE, late)) as heard:
        slicer = make_slicer(heard.url, now=Clock(NOON))
        with pytest.raises(Transient):
            slicer.get_job("j")
        slicer.get_job("j")
    assert stamps(heard) == [0, 9 * 3600, 0], "only a correction that proved right is kept"


@pytest.mark.parametrize("ahead", [timedelta(minutes=10), timedelta(minutes=-10), timedelta()])
def test_a_jobs_times_are_told_by_our_clock(ahead: timedelta) -> None:
    def at(time: datetime) -> int:
        return int((time + ahead).timestamp() * 1000)

    ended = NOON - timedelta(minutes=1)
    job = {"id": "j", "state": "done", "last_start": at(ended), "finished": at(ended)}
    both = {"error": 0, "job": job, "jobs": [job]}
    with raw_server(dated(both, NOON + ahead)) as heard:
        slicer = make_slicer(heard.url, now=Clock(NOON))
        for found in (slicer.get_job("j"), slicer.list_jobs(limit=1)[0]):
            assert found.finished_at is not None
            assert abs(found.finished_at - ended) <= timedelta(seconds=1)
            assert found.started_at == found.finished_at


def test_a_jobs_times_are_told_by_the_clock_of_what_is_on_record() -> None:
    """The machine is an hour behind; Uplynk and the database agree."""
    ended = int(NOON.timestamp() * 1000)
    job = {"id": "j", "state": "done", "finished": ended}
    with raw_server(dated({"error": 0, "job": job}, NOON)) as heard, requests.Session() as session:
        slicer = CloudSlicer(
            heard.url,
            owner=ACCOUNT,
            key=SecretStr(KEY),
            http=lambda: session,
            now=Clock(NOON - timedelta(hours=1)),
            recorded=Clock(NOON),
        )
        assert slicer.get_job("j").finished_at == NOON
