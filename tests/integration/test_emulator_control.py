"""The control endpoints, their client, and the emulator as a process of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from emulator.control import Control, ControlError
from emulator.server import Emulator
from emulator.settings import EmulatorSettings
from tests.signed import post

ASSET = "a" * 32


def create(emulator: Emulator, asset: str = ASSET) -> requests.Response:
    return post(emulator, "jobs/create_export", asset=asset)


@pytest.fixture(scope="session")
def running() -> Iterator[Emulator]:
    with Emulator(EmulatorSettings(speed=0)) as emulator:
        yield emulator


@pytest.fixture
def emulator(running: Emulator) -> Emulator:
    running.control.reset()
    return running


def test_health(emulator: Emulator) -> None:
    assert emulator.control.health() == {"status": "ok", "user_id": "e" * 32}


def test_a_fault_is_shown_with_what_it_did_and_removed(emulator: Emulator) -> None:
    fault_id = emulator.control.fault("jobs/create_export", "empty", times=1, asset=ASSET)
    create(emulator)
    create(emulator)
    (shown,) = emulator.control.faults()
    assert (shown["id"], shown["matched"], shown["fired"]) == (fault_id, 1, 1)
    url = f"{emulator.url}/control/faults/{fault_id}"
    assert requests.get(url, timeout=10).json() == shown
    emulator.control.remove_fault(fault_id)
    assert emulator.control.faults() == []
    with pytest.raises(ControlError, match="no such fault"):
        emulator.control.remove_fault(fault_id)
    assert requests.get(url, timeout=10).status_code == 404


@pytest.mark.parametrize("method", ["clear_faults", "reset"])
def test_all_faults_can_be_cleared(emulator: Emulator, method: str) -> None:
    emulator.control.fault("*", "html")
    getattr(emulator.control, method)()
    assert create(emulator).json()["error"] == 0


def test_a_bad_rule_is_refused_in_a_sentence(emulator: Emulator) -> None:
    with pytest.raises(ControlError, match="kind must be one of"):
        emulator.control.fault("jobs/get", "explode")
    response = requests.post(f"{emulator.url}/control/faults", data="[", timeout=10)
    assert (response.status_code, response.json()) == (400, {"message": "the body must be JSON"})
    assert requests.post(f"{emulator.url}/control/faults", json=[], timeout=10).status_code == 400


def test_calls_are_counted_by_asset(emulator: Emulator) -> None:
    for asset in (ASSET, ASSET, "b" * 32):
        create(emulator, asset)
    counted = emulator.control.calls()
    assert counted["calls"] == {"jobs/create_export": 3}
    assert counted["by_asset"] == {"jobs/create_export": {ASSET: 2, "b" * 32: 1}}


def test_jobs_are_counted_by_asset_and_kind(emulator: Emulator) -> None:
    create(emulator)
    create(emulator, "b" * 32)
    (job,) = emulator.control.jobs(ASSET)
    assert (job["state"], job["kind"], job["args"]) == ("assigned", "export", {"export_mp4": True})
    assert abs(job["created"] / 1000 - time.time()) < 60
    assert len(emulator.control.jobs()) == 2
    assert len(emulator.control.jobs(kind="slice")) == 3
    answer = requests.get(f"{emulator.url}/control/jobs?asset={ASSET}", timeout=10).json()
    assert answer["count"] == 1


def test_the_clock_is_advanced_and_changes_speed(emulator: Emulator) -> None:
    url = f"{emulator.url}/control/clock"
    before = requests.get(url, timeout=10).json()["now"]
    emulator.control.advance(3600)
    assert requests.get(url, timeout=10).json() == {"now": before + 3600, "speed": 0}
    emulator.advance(60)
    assert requests.get(url, timeout=10).json() == {"now": before + 3660, "speed": 0}
    emulator.control.speed(1000)
    end = time.monotonic() + 5
    while requests.get(url, timeout=10).json()["now"] < before + 3700:
        assert time.monotonic() < end


def test_a_clock_that_goes_back_or_does_not_run_is_refused(emulator: Emulator) -> None:
    with pytest.raises(ValueError, match="0 or more"):
        emulator.advance(-1)
    with pytest.raises(RuntimeError, match="does not run"):
        Emulator().advance(1)


@pytest.mark.parametrize(
    "body", [{"advance_seconds": -1}, {"speed": "fast"}, {"speed": True}, {"back": 1}]
)
def test_a_bad_clock_is_refused(emulator: Emulator, body: dict[str, Any]) -> None:
    response = requests.post(f"{emulator.url}/control/clock", json=body, timeout=10)
    assert response.status_code == 400
    assert next(iter(body)) in response.json()["message"]


def test_an_override_is_answered_with_the_asset(emulator: Emulator) -> None:
    asset = emulator.control.asset(ASSET, wait_seconds=5, audio="none")
    assert (asset["wait_seconds"], asset["audio"], asset["missing"]) == (5, "none", False)
    assert requests.get(f"{emulator.url}/control/assets/{ASSET}", timeout=10).json() == asset
    assert create(emulator).json()["job"]["state"] == "waiting"
    with pytest.raises(ControlError, match="wait_seconds"):
        emulator.control.asset(ASSET, wait_seconds="long")
    with pytest.raises(ControlError, match="32 hex digits"):
        emulator.control.asset("short")


def test_faults_can_stand_in_the_settings_and_survive_a_reset() -> None:
    rule = {"call": "jobs/create_export", "kind": "empty", "times": 1}
    with Emulator(EmulatorSettings(faults=(rule,))) as emulator:
        assert create(emulator).content == b""
        emulator.control.reset()
        assert create(emulator).content == b""
        assert create(emulator).json()["error"] == 0


def test_a_port_in_use_is_told_on_entering(emulator: Emulator) -> None:
    port = int(emulator.url.rpartition(":")[2])
    with pytest.raises(OSError, match="in use"), Emulator(EmulatorSettings(port=port)):
        pass


def test_a_folder_of_one_s_own_is_kept(tmp_path: Path) -> None:
    kept = EmulatorSettings(run_seconds=0, media_seconds=1, media_dir=tmp_path)
    with Emulator(kept) as emulator:
        url = create(emulator).json()["job"]["hd_exported_url"]
        assert requests.get(url, timeout=10).ok
    assert [path.suffix for path in tmp_path.iterdir()] == [".mp4"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_as_a_process_it_tells_its_url_and_leaves_nothing_behind(
    tmp_path: Path, number: signal.Signals
) -> None:
    command = [sys.executable, "-W", "error", "-m", "emulator", "--port", "0", "--speed", "60"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        assert list(tmp_path.glob("cloudslicer-emulator-*"))
        Control(line.removeprefix("Cloud Slicer emulator at ")).fault("jobs/list", "hang")
        process.send_signal(number)
        rest, errors = process.communicate(timeout=60)
    assert (process.returncode, rest, errors) == (0, "", "")
    assert not list(tmp_path.iterdir())


def test_a_bad_option_is_told_in_a_sentence() -> None:
    command = [sys.executable, "-m", "emulator", "--media-seconds", "0"]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert outcome.returncode == 1
    assert outcome.stderr == "Error: media_seconds must be above 0\n"
