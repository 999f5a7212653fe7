"""Told: the client tells of each attempt how it ended, also of the one that it makes again."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from emulator.server import Emulator
from emulator.settings import EmulatorSettings
from tests.factories import an_asset
from tests.services import free_port
from tests.slicers import make_slicer
from worker.cloudslicer import CloudSlicer
from worker.cloudslicer.client import CALLS
from worker.errors import ExportError

MAKE: list[Callable[[CloudSlicer], object]] = [
    lambda uplynk: uplynk.create_export(an_asset(), aaclc=False),
    lambda uplynk: uplynk.get_job("f" * 32),
    lambda uplynk: uplynk.list_jobs(limit=1),
    lambda uplynk: uplynk.cancel_job("f" * 32),
    lambda uplynk: uplynk.delete_jobs(["f" * 32]),
    lambda uplynk: uplynk.get_asset(an_asset()),
]
ENDS: list[tuple[str, dict[str, Any], str]] = [
    ("error", {"code": 1, "msg": "Job not found"}, "uplynk_not_found"),
    ("error", {"code": 1, "msg": "that is no colour"}, "uplynk_refused"),
    ("error", {"code": 1, "msg": "Bad signature"}, "uplynk_credentials"),
    ("status", {"status": 429}, "uplynk_busy"),
    ("status", {"status": 503}, "uplynk_unavailable"),
    ("reset_after", {}, "uplynk_unavailable"),
    ("html", {}, "uplynk_unreadable"),
]


def heard(uplynk: CloudSlicer) -> list[tuple[str, str]]:
    """Return what is told from now on: calls, and how they ended."""
    told: list[tuple[str, str]] = []

    def hear(call: str, outcome: str, seconds: float) -> None:
        assert seconds > 0
        told.append((call, outcome))

    uplynk.told = hear
    return told


def test_each_call_is_told_by_its_name(emulator: Emulator) -> None:
    uplynk = make_slicer(emulator.url)
    told = heard(uplynk)
    for make in MAKE:
        with suppress(ExportError):
            make(uplynk)
    assert [call for call, _ in told] == list(CALLS)
    assert emulator.control.calls()["calls"] == dict.fromkeys(CALLS, 1)
    assert told[0] == ("jobs/create_export", "ok")


@pytest.mark.parametrize(("kind", "parameters", "outcome"), ENDS)
def test_how_it_ended_is_told_in_a_word(
    emulator: Emulator, kind: str, parameters: dict[str, Any], outcome: str
) -> None:
    emulator.control.fault("jobs/list", kind, **parameters)
    uplynk = make_slicer(emulator.url)
    told = heard(uplynk)
    with pytest.raises(ExportError) as ended:
        uplynk.list_jobs(limit=1)
    assert told == [("jobs/list", outcome)]
    assert ended.value.code == outcome


def test_a_connection_that_was_never_made_is_told_too() -> None:
    uplynk = make_slicer(f"http://127.0.0.1:{free_port()}")
    told = heard(uplynk)
    with pytest.raises(ExportError):
        uplynk.list_jobs(limit=1)
    assert told == [("jobs/list", "uplynk_unreachable")]


def test_a_call_that_is_signed_anew_is_two() -> None:
    with Emulator(EmulatorSettings(clock_skew_seconds=600)) as emulator:
        uplynk = make_slicer(emulator.url)
        told = heard(uplynk)
        uplynk.list_jobs(limit=1)
        assert emulator.control.calls()["calls"] == {"jobs/list": 2}
    assert told == [("jobs/list", "uplynk_credentials"), ("jobs/list", "ok")]
