from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from emulator.catalogue import Asset
from emulator.fault_kinds import CALLS, KINDS
from emulator.rate import Rate
from emulator.settings import EmulatorSettings

PAGE = Path(__file__).parents[2] / "docs" / "emulator.md"


def test_the_page_names_all_settings_calls_kinds_and_members() -> None:
    text = PAGE.read_text(encoding="utf-8")
    names = (
        {each.name for each in (*fields(EmulatorSettings), *fields(Asset))} | CALLS | KINDS.keys()
    )
    names |= {name for kind in KINDS.values() for name in kind.parameters} - {"missing"}
    assert sorted(name for name in names if f"`{name}`" not in text) == []


def test_the_key_does_not_show() -> None:
    assert "hunter2" not in repr(EmulatorSettings(api_key="hunter2"))


@pytest.mark.parametrize(
    ("values", "name"),
    [({"width": 321}, "width"), ({"height": 10}, "height"), ({"speed": -1}, "speed"),
     ({"media_seconds": 0}, "media_seconds"), ({"captions": "few"}, "captions"),
     ({"max_attempts": 0}, "max_attempts")],
)  # fmt: skip
def test_a_bad_setting_is_refused_by_name(values: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}"):
        EmulatorSettings(**values)


def test_a_rate_holds_one_second_of_calls_and_fills_again() -> None:
    seconds = [0.0]
    rate = Rate(2.0, real=lambda: seconds[0])
    assert [rate.allows() for _ in range(3)] == [True, True, False]
    seconds[0] = 0.5
    assert [rate.allows() for _ in range(2)] == [True, False]


def test_no_rate_is_no_limit() -> None:
    rate = Rate(None)
    assert all(rate.allows() for _ in range(100))
