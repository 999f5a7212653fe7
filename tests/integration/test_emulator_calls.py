"""Every call of the API over real HTTP, as a client that signs for itself sees it."""

import base64
import hashlib
import hmac
import json
import time
import zlib
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
import requests

from emulator.server import Emulator
from emulator.settings import EmulatorSettings

ASSET = "a29a0bf647454d70bbb9b13d6896a108"
USER_ID = "d" * 32
KEY = "the key"


def post(emulator: Emulator, path: str, *, key: str = KEY, **parameters: Any) -> requests.Response:
    message = {"_owner": USER_ID, "_timestamp": int(time.time())} | parameters
    packed = base64.b64encode(zlib.compress(json.dumps(message).encode(), 9)).decode()
    signature = hmac.new(key.encode(), packed.encode(), hashlib.sha256).hexdigest()
    form = {"msg": packed, "sig": signature}
    return requests.post(f"{emulator.url}/api2/{path}", data=form, timeout=10)


def call(emulator: Emulator, path: str, **parameters: Any) -> dict[str, Any]:
    answer: dict[str, Any] = post(emulator, path, **parameters).json()
    return answer


def create(emulator: Emulator, asset: str = ASSET, **more: Any) -> dict[str, Any]:
    answer = call(emulator, "cloudslicer/jobs/create_export", asset=asset, **more)
    assert answer["error"] == 0, answer
    job: dict[str, Any] = answer["job"]
    return job


def get(emulator: Emulator, job_id: str) -> dict[str, Any]:
    return call(emulator, "cloudslicer/jobs/get", id=job_id)


def make_settings(**changes: Any) -> EmulatorSettings:
    return EmulatorSettings(user_id=USER_ID, api_key=KEY, speed=0, **changes)


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(make_settings()) as running:
        yield running


def test_an_export_goes_from_asked_to_done(emulator: Emulator) -> None:
    job = create(emulator)
    assert (job["state"], job["asset"], job["owner"]) == ("assigned", ASSET, USER_ID)
    emulator.control.advance(10.2)
    done = get(emulator, job["id"])["job"]
    assert done["state"] == "done"
    assert done["finished"] - done["last_start"] == 10_100
    assert done["hd_exported_url"].startswith(f"{emulator.url}/slices/")
    assert done["hd_exported_url"].endswith("_g.mp4")


def test_the_url_names_the_host_that_the_client_used(emulator: Emulator) -> None:
    emulator.control.asset(ASSET, run_seconds=0)
    named = emulator.url.replace("127.0.0.1", "localhost")
    message = {"_owner": USER_ID, "_timestamp": int(time.time()), "asset": ASSET}
    packed = base64.b64encode(zlib.compress(json.dumps(message).encode())).decode()
    signature = hmac.new(KEY.encode(), packed.encode(), hashlib.sha256).hexdigest()
    answer = requests.post(
        f"{named}/api2/cloudslicer/jobs/create_export",
        data={"msg": packed, "sig": signature},
        timeout=10,
    )
    assert answer.json()["job"]["hd_exported_url"].startswith(named)


def test_an_asset_can_fail_and_end_in_error(emulator: Emulator) -> None:
    emulator.control.asset(ASSET, fail_attempts=3, run_seconds=5, last_error="No such track")
    job = create(emulator)
    emulator.control.advance(5.5)
    again = get(emulator, job["id"])["job"]
    assert (again["state"], again["attempts"]) == ("waiting", 1)
    emulator.control.advance(60)
    ended = get(emulator, job["id"])["job"]
    assert (ended["state"], ended["last_error"]) == ("error", "No such track")


def test_a_job_is_gone_after_72_hours_and_still_counted(emulator: Emulator) -> None:
    job = create(emulator)
    emulator.control.advance(11 + 72 * 3600)
    assert get(emulator, job["id"]) == {"error": 4, "msg": "Not found"}
    (record,) = emulator.control.jobs(ASSET)
    assert (record["id"], record["erased"], record["state"]) == (job["id"], True, "done")


def test_cancel_and_what_cannot_be_cancelled(emulator: Emulator) -> None:
    job = create(emulator)
    answer = call(emulator, "cloudslicer/jobs/cancel", id=job["id"])
    assert (answer["error"], answer["job"]["state"]) == (0, "cancelled")
    assert call(emulator, "cloudslicer/jobs/cancel", id=job["id"])["error"] != 0
    assert call(emulator, "cloudslicer/jobs/cancel", id="0" * 32)["msg"] == "Not found"


def test_delete_answers_for_each_id(emulator: Emulator) -> None:
    done, running = create(emulator), None
    emulator.control.advance(20)
    running = create(emulator)
    answer = call(emulator, "cloudslicer/jobs/delete", ids=[done["id"], running["id"], "0" * 32])
    assert answer == {
        "error": 0,
        "actions": [
            [done["id"], "deleted"],
            [running["id"], "Job is assigned"],
            ["0" * 32, "Not found"],
        ],
    }


def test_the_list_is_newest_first_and_mixed_with_other_kinds(emulator: Emulator) -> None:
    mine = [create(emulator)["id"] for _ in range(4)]
    listed = call(emulator, "cloudslicer/jobs/list", limit=100)["jobs"]
    exports = [job["id"] for job in listed if "export_mp4" in job["args"]]
    others = [job for job in listed if "export_mp4" not in job["args"]]
    assert exports == mine[::-1]
    assert len(others) == 3
    assert ASSET in {job["asset"] for job in others}
    page = call(emulator, "cloudslicer/jobs/list", limit=2, skip=3)["jobs"]
    assert [job["id"] for job in page] == [job["id"] for job in listed[3:5]]


@pytest.mark.parametrize(("over_limit", "count"), [("refuse", None), ("clamp", 2)])
def test_the_list_has_a_largest_limit(over_limit: str, count: int | None) -> None:
    with Emulator(make_settings(list_max_limit=2, list_over_limit=over_limit)) as emulator:
        for _ in range(3):
            create(emulator)
        answer = call(emulator, "cloudslicer/jobs/list", limit=3)
    assert (len(answer["jobs"]) if "jobs" in answer else None) == count


def test_a_new_job_can_be_late_in_the_list() -> None:
    with Emulator(make_settings(list_lag_seconds=30, other_jobs=0)) as emulator:
        job = create(emulator)
        assert call(emulator, "cloudslicer/jobs/list")["jobs"] == []
        assert get(emulator, job["id"])["error"] == 0
        emulator.control.advance(30)
        (listed,) = call(emulator, "cloudslicer/jobs/list")["jobs"]
    assert listed["id"] == job["id"]


def test_settings_for_what_no_text_settles() -> None:
    settings = make_settings(
        list_order="oldest", list_member="items", error_status=400, echo_aaclc=False, other_jobs=0
    )
    with Emulator(settings) as emulator:
        first, second = create(emulator, aaclc=1), create(emulator)
        items = call(emulator, "cloudslicer/jobs/list")["items"]
        refused = post(emulator, "cloudslicer/jobs/get", id="0" * 32)
    assert [job["id"] for job in items] == [first["id"], second["id"]]
    assert first["args"] == {"export_mp4": True}
    assert refused.status_code == 400
    assert refused.json()["error"] != 0


def test_assets(emulator: Emulator) -> None:
    emulator.control.asset("b" * 32, missing=True)
    asset = call(emulator, "asset/get", id=ASSET)["asset"]
    assert (asset["id"], asset["state"], asset["duration"]) == (ASSET, "ready", 4.0)
    assert call(emulator, "asset/get", id="b" * 32)["error"] != 0
    several = call(emulator, "asset/get", ids=[ASSET, "b" * 32, "c" * 32])["assets"]
    assert [each["id"] for each in several] == [ASSET, "c" * 32]
    listed = call(emulator, "asset/list", limit=1, skip=1)["assets"]
    assert [each["id"] for each in listed] == ["c" * 32]


WRONG = [
    ("cloudslicer/jobs/create_export", {}),
    ("cloudslicer/jobs/create_export", {"asset": "nonsense"}),
    ("cloudslicer/jobs/create_export", {"asset": 5}),
    ("cloudslicer/jobs/create_export", {"asset": ASSET, "aaclc": "1"}),
    ("cloudslicer/jobs/create_export", {"asset": ASSET, "aaclc": True}),
    ("cloudslicer/jobs/create_export", {"asset": ASSET, "aac_lc": 1}),
    ("cloudslicer/jobs/get", {"id": ["x"]}),
    ("cloudslicer/jobs/get", {}),
    ("cloudslicer/jobs/list", {"limit": 0}),
    ("cloudslicer/jobs/list", {"limit": "10"}),
    ("cloudslicer/jobs/list", {"limit": 101}),
    ("cloudslicer/jobs/list", {"skip": -1}),
    ("cloudslicer/jobs/delete", {"ids": "x"}),
    ("cloudslicer/jobs/delete", {"ids": []}),
    ("asset/get", {"ids": ["a" * 32] * 1001}),
    ("asset/list", {"limit": 101}),
    ("asset/list", {"order": 1}),
    ("jobs/get", {"id": "a" * 32}),
    ("cloudslicer/asset/get", {"id": ASSET}),
    ("cloudslicer/jobs/create", {"asset": ASSET}),
]


@pytest.mark.parametrize(("path", "parameters"), WRONG)
def test_what_is_wrong_is_refused_and_makes_no_job(
    emulator: Emulator, path: str, parameters: dict[str, Any]
) -> None:
    answer = post(emulator, path, **parameters)
    assert answer.status_code == 200
    assert answer.json()["error"] != 0
    assert answer.json()["msg"]
    assert emulator.control.jobs() == []


def test_a_missing_asset_is_refused(emulator: Emulator) -> None:
    emulator.control.asset(ASSET, missing=True)
    answer = call(emulator, "cloudslicer/jobs/create_export", asset=ASSET)
    assert (answer["error"], ASSET in answer["msg"]) == (4, True)


def test_a_bad_signature_is_refused_and_the_call_counted(emulator: Emulator) -> None:
    answer = post(emulator, "cloudslicer/jobs/create_export", key="wrong", asset=ASSET)
    assert "HMAC" in answer.json()["msg"]
    assert emulator.control.jobs() == []
    assert emulator.control.calls()["calls"] == {"jobs/create_export": 1}


def test_only_a_form_is_taken(emulator: Emulator) -> None:
    url = f"{emulator.url}/api2/cloudslicer/jobs/list"
    assert "form-urlencoded" in requests.post(url, json={}, timeout=10).json()["msg"]
    assert requests.get(url, timeout=10).status_code == 405


def test_a_skewed_server_says_so_in_its_date() -> None:
    with Emulator(make_settings(clock_skew_seconds=3600)) as emulator:
        answer = post(emulator, "cloudslicer/jobs/list")
    assert "_timestamp" in answer.json()["msg"]
    skew = parsedate_to_datetime(answer.headers["Date"]).timestamp() - time.time()
    assert skew == pytest.approx(3600, abs=5)


def test_a_rate_limit_answers_429_with_retry_after() -> None:
    with Emulator(make_settings(calls_per_second=0.001)) as emulator:
        assert post(emulator, "cloudslicer/jobs/list").status_code == 200
        answer = post(emulator, "cloudslicer/jobs/list")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")
