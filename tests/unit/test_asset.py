"""Asset: what Uplynk says of one is found wherever it stands, and believed only where it fits."""

from typing import Any

import pytest

from worker.cloudslicer.asset import Asset

ID = "a" * 32
DATA = {"id": ID, "state": "ready", "duration": 61.5}


@pytest.mark.parametrize(
    "envelope",
    [
        {"error": 0, "asset": DATA},
        {"error": 0, "assets": [None, {"id": "b" * 32, "duration": 1}, DATA]},
        {"error": 0, **DATA},
    ],
)
def test_an_asset_is_found_wherever_it_stands(envelope: dict[str, Any]) -> None:
    assert Asset.find(envelope, ID) == Asset(id=ID, duration_seconds=61.5, state="ready")


@pytest.mark.parametrize(
    "envelope",
    [{}, {"asset": None}, {"asset": [DATA]}, {"assets": {}}, {"asset": {**DATA, "id": "b" * 32}}],
)
def test_an_answer_that_says_nothing_of_it_is_none(envelope: dict[str, Any]) -> None:
    assert Asset.find(envelope, ID) is None


@pytest.mark.parametrize(
    "duration", [None, True, "61.5", 0, -1, float("nan"), float("inf"), [], {}]
)
def test_a_duration_that_makes_no_sense_is_none(duration: object) -> None:
    found = Asset.find({"asset": {**DATA, "duration": duration}}, ID)
    assert found == Asset(id=ID, duration_seconds=None, state="ready")
