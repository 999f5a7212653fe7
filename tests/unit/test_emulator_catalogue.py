from typing import Any

import pytest

from emulator.catalogue import Catalogue
from emulator.settings import EmulatorSettings

ASSET = "a" * 32


def make_catalogue(**settings: Any) -> Catalogue:
    return Catalogue(EmulatorSettings(**settings))


def test_every_id_exists_unless_it_is_missing() -> None:
    catalogue = make_catalogue(missing=frozenset({"b" * 32}))
    assert catalogue.find(ASSET) is not None
    assert catalogue.find("b" * 32) is None


@pytest.mark.parametrize("asset", ["", "xyz", "A" * 32, "a" * 31, "a" * 33, f"{ASSET}\n"])
def test_a_malformed_id_does_not_exist(asset: str) -> None:
    assert make_catalogue().find(asset) is None


@pytest.mark.parametrize(
    ("rule", "last_digit", "captions"),
    [("some", "0", True), ("some", "1", False), ("some", "e", True), ("some", "f", False),
     ("all", "1", True), ("none", "0", False)],
)  # fmt: skip
def test_captions_follow_the_rule(rule: str, last_digit: str, captions: bool) -> None:
    assert make_catalogue(captions=rule).asset("a" * 31 + last_digit).captions is captions


def test_overrides_add_up_and_leave_other_assets_alone() -> None:
    catalogue = make_catalogue()
    catalogue.override(ASSET, {"fail_attempts": 2})
    assert catalogue.override(ASSET, {"captions": False})["fail_attempts"] == 2
    assert catalogue.asset(ASSET).captions is False
    assert catalogue.asset("c" * 32).fail_attempts == 0


def test_an_asset_can_go_missing_and_come_back() -> None:
    catalogue = make_catalogue()
    catalogue.override(ASSET, {"missing": True})
    assert catalogue.find(ASSET) is None
    catalogue.override(ASSET, {"missing": False})
    assert catalogue.find(ASSET) is not None


@pytest.mark.parametrize(
    ("values", "field"),
    [({"missing": 1}, "missing"), ({"captions": "yes"}, "captions"),
     ({"media_seconds": 0}, "media_seconds"), ({"media_seconds": True}, "media_seconds"),
     ({"media_size_bytes": 1.5}, "media_size_bytes"), ({"wait_seconds": -1}, "wait_seconds"),
     ({"run_seconds": "1"}, "run_seconds"), ({"fail_attempts": None}, "fail_attempts"),
     ({"last_error": 5}, "last_error"), ({"audio": "mp3"}, "audio"),
     ({"colour": "red"}, "colour")],
)  # fmt: skip
def test_a_bad_override_is_refused_by_name_and_changes_nothing(
    values: dict[str, Any], field: str
) -> None:
    catalogue = make_catalogue()
    before = catalogue.asset(ASSET)
    with pytest.raises(ValueError, match=field):
        catalogue.override(ASSET, values)
    assert catalogue.asset(ASSET) == before


def test_assets_are_listed_in_the_order_they_were_named() -> None:
    catalogue = make_catalogue()
    for asset in ("b" * 32, ASSET, "b" * 32):
        catalogue.find(asset)
    assert catalogue.named() == ["b" * 32, ASSET]
    catalogue.reset()
    assert catalogue.named() == []
