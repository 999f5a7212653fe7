"""Doctor: what is wrong is told, with what to do."""

from pathlib import Path

import pytest
from sqlalchemy.orm import Session, sessionmaker

from emulator.server import Emulator
from emulator.settings import EmulatorSettings
from tests.factories import make_kit
from tests.receiver import OTHER_SECRET, SECRET
from worker.doctor import Finding, examine
from worker.steps import Kit


def findings(kit: Kit) -> dict[str, Finding]:
    return {found.what: found for found in examine(kit.settings, kit, lambda: "reached")}


@pytest.mark.parametrize(
    ("ahead", "says"),
    [
        (600.0, "s behind Uplynk's; calls are corrected for that"),
        (-600.0, "s ahead of Uplynk's; calls are corrected for that"),
        (90.0, "s behind Uplynk's; calls are corrected for that"),
        (20.0, "agrees with Uplynk's"),
    ],
)
def test_the_clock_is_compared_with_uplynks(
    ahead: float, says: str, sessions: sessionmaker[Session], tmp_path: Path
) -> None:
    with Emulator(EmulatorSettings(clock_skew_seconds=ahead)) as emulator:
        found = findings(make_kit(sessions, tmp_path, emulator=emulator))
    assert found["uplynk"].well
    assert found["clock"].well
    assert says in found["clock"].says


def test_without_a_reply_there_is_nothing_to_compare(
    sessions: sessionmaker[Session], tmp_path: Path
) -> None:
    found = findings(make_kit(sessions, tmp_path))
    assert not found["uplynk"].well
    assert found["clock"].well
    assert "can't be compared" in found["clock"].says


@pytest.mark.parametrize(
    ("hosts", "secret", "is_well", "says"),
    [
        ("", "", True, "none are sent"),
        ("cms.example", SECRET, True, "may go to cms.example, and are signed"),
        ("cms.example", f"{SECRET},{OTHER_SECRET}", True, "by two secrets"),
        ("", SECRET, False, "WEBHOOK_HOSTS"),
        ("cms.example", "", False, "WEBHOOK_SECRET"),
    ],
)
def test_webhooks_that_can_not_be_sent_are_told_of(
    hosts: str,
    secret: str,
    *,
    is_well: bool,
    says: str,
    sessions: sessionmaker[Session],
    tmp_path: Path,
) -> None:
    kit = make_kit(sessions, tmp_path, webhook_hosts=hosts, webhook_secret=secret)
    found = findings(kit)["webhooks"]
    assert (found.well, says in found.says) == (is_well, True), found
