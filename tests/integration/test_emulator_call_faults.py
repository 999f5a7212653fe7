"""Every kind of fault of a call, as a real client sees it."""

import time
from collections.abc import Iterator
from threading import Thread
from typing import Any

import pytest
import requests

from emulator.server import Emulator
from emulator.settings import EmulatorSettings
from tests.signed import post
from tests.waiting import wait_until

ASSET = "a" * 32
OTHER = "b" * 32


def create(emulator: Emulator, asset: str = ASSET, **more: Any) -> requests.Response:
    return post(emulator, "jobs/create_export", asset=asset, **more)


def wait_until_jobs(emulator: Emulator, count: int) -> None:
    wait_until(lambda: len(emulator.control.jobs()) == count, what=f"{count} jobs")


@pytest.fixture(scope="session")
def running() -> Iterator[Emulator]:
    with Emulator(EmulatorSettings(speed=0)) as emulator:
        yield emulator


@pytest.fixture
def emulator(running: Emulator) -> Emulator:
    running.control.reset()
    return running


@pytest.mark.parametrize(("kind", "jobs"), [("reset_before", 0), ("reset_after", 1)])
def test_a_reset_before_and_after_the_work(emulator: Emulator, kind: str, jobs: int) -> None:
    emulator.control.fault("jobs/create_export", kind, times=1)
    with pytest.raises(requests.ConnectionError, match="Connection reset by peer"):
        create(emulator)
    assert len(emulator.control.jobs()) == jobs
    assert create(emulator).json()["error"] == 0


@pytest.mark.parametrize(("when", "jobs"), [("before", 0), ("after", 1)])
def test_a_hang_lasts_until_the_client_leaves(emulator: Emulator, when: str, jobs: int) -> None:
    emulator.control.fault("jobs/create_export", "hang", when=when)
    with pytest.raises(requests.Timeout):
        create(emulator, timeout=1)
    assert len(emulator.control.jobs()) == jobs


def test_a_hang_has_a_cap(emulator: Emulator) -> None:
    emulator.control.fault("jobs/get", "hang", cap_seconds=0.1)
    with pytest.raises(requests.ConnectionError):
        post(emulator, "jobs/get", id="0" * 32)


def test_a_delayed_call_is_done_though_its_client_gave_up(emulator: Emulator) -> None:
    emulator.control.fault("jobs/create_export", "delay", seconds=4)
    with pytest.raises(requests.Timeout):
        create(emulator, timeout=0.5)
    assert emulator.control.jobs() == []
    wait_until_jobs(emulator, 1)


def test_a_delay_after_the_work(emulator: Emulator) -> None:
    emulator.control.fault("jobs/create_export", "delay", seconds=9, when="after")
    with pytest.raises(requests.Timeout):
        create(emulator, timeout=1)
    assert len(emulator.control.jobs()) == 1


@pytest.mark.parametrize("retry_after", [7, "Fri, 15 Jan 2027 08:00:00 GMT"])
def test_a_status_with_retry_after(emulator: Emulator, retry_after: object) -> None:
    emulator.control.fault("*", "status", status=503, retry_after=retry_after)
    answer = create(emulator)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, str(retry_after))
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "Service Unavailable" in answer.text
    assert emulator.control.jobs() == []


@pytest.mark.parametrize(("body", "text"), [("empty", ""), ("json", '{"error": 502}')])
def test_bodies_of_a_status(emulator: Emulator, body: str, text: str) -> None:
    emulator.control.fault("jobs/create_export", "status", status=502, body=body)
    assert (create(emulator).status_code, create(emulator).text) == (502, text)


def test_a_redirect(emulator: Emulator) -> None:
    emulator.control.fault("jobs/create_export", "status", status=302, location="http://x.test/")
    assert create(emulator).headers["Location"] == "http://x.test/"


def test_a_page_and_nothing_where_json_was_due(emulator: Emulator) -> None:
    emulator.control.fault("jobs/create_export", "html", times=1)
    emulator.control.fault("jobs/create_export", "empty", times=1)
    page, nothing = create(emulator), create(emulator)
    assert (page.status_code, page.text[:6]) == (200, "<html>")
    assert (nothing.status_code, nothing.content) == (200, b"")
    assert emulator.control.jobs() == []


def test_a_failure_envelope_without_and_with_a_message(emulator: Emulator) -> None:
    emulator.control.fault("jobs/create_export", "error", code=17, times=1)
    emulator.control.fault("jobs/create_export", "error", msg="No", status=403, times=1)
    first, second = create(emulator), create(emulator)
    assert (first.status_code, first.json()) == (200, {"error": 17})
    assert (second.status_code, second.json()) == (403, {"error": 1, "msg": "No"})
    assert emulator.control.jobs() == []


def test_a_failure_after_the_work(emulator: Emulator) -> None:
    emulator.control.fault("jobs/create_export", "error_after", msg="Oops", times=1)
    emulator.control.fault("jobs/create_export", "error_after", status=500, body="html", times=1)
    first, second = create(emulator), create(emulator)
    assert first.json() == {"error": 1, "msg": "Oops"}
    assert (second.status_code, second.text[:6]) == (500, "<html>")
    assert len(emulator.control.jobs()) == 2


@pytest.mark.parametrize(
    ("rule", "expected"),
    [({"member": "id"}, None), ({"member": "id", "missing": True}, None),
     ({"member": "id", "value": 5}, 5), ({"member": "state", "value": None}, None),
     ({"member": "last_start", "value": "soon"}, "soon")],
)  # fmt: skip
def test_a_malformed_member_of_the_job(
    emulator: Emulator, rule: dict[str, Any], expected: object
) -> None:
    emulator.control.fault("jobs/create_export", "malformed", **rule)
    job = create(emulator).json()["job"]
    assert job.get(rule["member"]) == expected
    assert (rule["member"] in job) is ("value" in rule)


def test_a_malformed_member_of_an_asset(emulator: Emulator) -> None:
    emulator.control.fault("asset/get", "malformed", asset=ASSET, member="duration", value=-1)
    for asset, is_touched in ((ASSET, True), (OTHER, False)):
        create(emulator, asset)
        answer = post(emulator, "../asset/get", id=asset).json()["asset"]
        assert (answer["duration"] == -1) is is_touched


@pytest.mark.parametrize(
    ("call", "rule", "expected"),
    [("jobs/create_export", {"member": "job"}, {"error": 0}),
     ("jobs/create_export", {"member": "job", "value": []}, {"error": 0, "job": []}),
     ("jobs/list", {"member": "jobs", "value": "x"}, {"error": 0, "jobs": "x"})],
)  # fmt: skip
def test_a_malformed_member_of_the_envelope(
    emulator: Emulator, call: str, rule: dict[str, Any], expected: object
) -> None:
    emulator.control.fault(call, "malformed", **rule)
    parameters: dict[str, Any] = {} if call == "jobs/list" else {"asset": ASSET}
    assert post(emulator, call, **parameters).json() == expected


def test_a_wrong_envelope_code(emulator: Emulator) -> None:
    emulator.control.fault("jobs/create_export", "malformed", member="error", value="0")
    assert create(emulator).json()["error"] == "0"


def test_a_state_nobody_has_heard_of_only_for_one_asset_of_a_list(emulator: Emulator) -> None:
    for asset in (ASSET, OTHER):
        create(emulator, asset)
    emulator.control.fault("jobs/list", "wrong_state", state="paused", asset=ASSET)
    listed = post(emulator, "jobs/list").json()["jobs"]
    states = {(job["asset"], job["state"]) for job in listed if "export_mp4" in job["args"]}
    assert states == {(ASSET, "paused"), (OTHER, "assigned")}


def test_a_list_that_does_not_show_the_asset_is_not_struck(emulator: Emulator) -> None:
    create(emulator, OTHER)
    emulator.control.fault("jobs/list", "empty", asset=ASSET)
    assert post(emulator, "jobs/list").json()["error"] == 0


def test_a_get_is_struck_by_the_asset_of_its_job(emulator: Emulator) -> None:
    first, second = (create(emulator, asset).json()["job"]["id"] for asset in (ASSET, OTHER))
    emulator.control.fault("jobs/get", "empty", asset=OTHER)
    assert post(emulator, "jobs/get", id=first).json()["error"] == 0
    assert post(emulator, "jobs/get", id=second).content == b""


def test_new_members_everywhere(emulator: Emulator) -> None:
    emulator.control.fault("*", "extra_members", members={"hue": 7})
    answer = create(emulator).json()
    assert (answer["error"], answer["hue"], answer["job"]["hue"]) == (0, 7, 7)


def test_a_failed_call_is_a_failure_with_or_without_a_late_fault(emulator: Emulator) -> None:
    emulator.control.asset(ASSET, missing=True)
    emulator.control.fault("jobs/create_export", "wrong_state", state="done")
    assert create(emulator).json()["error"] == 4


def test_leaving_does_not_wait_for_hanging_requests() -> None:
    outcomes: list[Exception] = []

    def ask(emulator: Emulator) -> None:
        try:
            post(emulator, "jobs/list", timeout=30)
        except requests.RequestException as error:
            outcomes.append(error)

    with Emulator() as emulator:
        emulator.control.fault("jobs/list", "hang")
        thread = Thread(target=ask, args=(emulator,))
        thread.start()
        while not emulator.control.calls()["calls"]:
            assert thread.is_alive()
        begin = time.monotonic()
    assert time.monotonic() - begin < 20  # and not until its client gives up
    thread.join(30)
    assert isinstance(outcomes[0], requests.ConnectionError)
