"""Batches, as who brings a back catalogue home runs them."""

import csv
import json
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest

from models import State
from tests.acceptance.stage import Stage
from tests.factories import an_asset
from tests.waiting import wait_until


@pytest.fixture
def assets(stage: Stage) -> list[str]:
    """Give the assets of a list that is in the stage's folder; the last one is missing."""
    assets = [an_asset() for _ in range(6)]
    stage.emulator.control.asset(assets[-1], missing=True)
    lines = ["asset,metadata.article", *(f"{asset},{n}" for n, asset in enumerate(assets))]
    (stage.folder / "archive.csv").write_text("\n".join([*lines, "nonsense,7"]))
    return assets


def listed(stage: Stage) -> str:
    return str(stage.folder / "archive.csv")


def test_a_list_is_planned_requested_watched_and_written_down(
    stage: Stage, assets: list[str]
) -> None:
    planned = stage.cli("plan", listed(stage))
    assert planned.returncode == 1  # not each line can be exported
    assert f"line 7: asset {assets[-1]}: Uplynk has it not" in planned.stderr
    assert "line 8: wrong arguments: asset: must be an asset's id" in planned.stderr
    assert "        5 would be exported, and paid for" in planned.stdout.splitlines()
    assert not stage.emulator.control.jobs()

    stage.start("threads")
    asked = stage.cli("request", "--from", listed(stage), "--wait")
    assert asked.returncode == 1
    assert asked.stdout == "archive\n"
    assert "line 8: wrong arguments" in asked.stderr
    assert "        6 to be exported" in asked.stderr
    assert "5 of 6 stored, 1 failed" in asked.stderr

    again = stage.cli("request", "--from", listed(stage))
    assert "        6 were on record already" in again.stderr
    assert len(stage.emulator.control.jobs()) == 5

    [totals] = [json.loads(line) for line in stage.cli("batches", "--json").stdout.splitlines()]
    assert (totals["batch"], totals["requests"], totals["left"]) == ("archive", 6, 0)
    assert (totals["states"]["stored"], totals["states"]["failed"]) == (5, 1)
    assert list(totals["codes"].values()) == [1]
    assert "archive" in stage.cli("batches").stdout
    assert "        5 stored" in stage.cli("batches", "archive").stdout
    rows = [
        json.loads(line)
        for line in stage.cli("list", "--batch", "archive", "--json").stdout.splitlines()
    ]
    assert {row["asset"] for row in rows} == set(assets)

    written = list(csv.DictReader(StringIO(stage.cli("manifest", "archive").stdout)))
    assert [row["asset"] for row in written] == assets
    assert [row["state"] for row in written] == ["stored"] * 5 + ["failed"]
    assert [json.loads(row["metadata"])["article"] for row in written] == list("012345")
    assert all(len(row["sha256"]) == 64 for row in written[:5])
    out = stage.folder / "manifest.jsonl"
    wrote = stage.cli("manifest", "archive", "--format", "jsonl", "--output", str(out))
    assert (wrote.returncode, wrote.stdout) == (0, "")
    values = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["request_id"] for row in values] == [row["request_id"] for row in written]

    seen = json.loads(stage.cli("watch", "--once", "--json").stdout)
    assert (seen["window"], seen["stored_in_the_last_hour"]) == (0, 5)
    assert "stored in the last hour" in stage.cli("watch", "--once").stdout


def test_what_is_stored_is_taken_by_another_list_without_paying(
    stage: Stage, assets: list[str]
) -> None:
    stage.start("threads")
    assert stage.cli("request", assets[0], "--wait").returncode == 0
    (stage.folder / "one.txt").write_text(assets[0])
    taken = stage.cli("request", "--from", str(stage.folder / "one.txt"), "--wait")
    assert taken.returncode == 0, taken.stderr
    assert "        1 are stored already" in taken.stderr
    assert len(stage.emulator.control.jobs()) == 1
    again = stage.cli(
        "request", "--from", str(stage.folder / "one.txt"), "--batch", "b", "--again", "--wait"
    )
    assert again.returncode == 0, again.stderr
    assert len(stage.emulator.control.jobs()) == 2


@pytest.mark.usefixtures("assets")
def test_what_is_paused_waits_and_what_is_drained_is_whole(stage: Stage) -> None:
    stage.start("threads")
    assert stage.cli("pause", "--requester", "archive").stdout == "archive paused\n"
    assert stage.cli("request", "--from", listed(stage)).returncode == 1
    clip = stage.cli("request", an_asset(), "--wait")  # the newsroom's goes on
    assert clip.returncode == 0, clip.stderr
    assert len(stage.emulator.control.jobs()) == 1
    assert "paused  archive" in stage.cli("watch", "--once").stdout
    resumed = stage.cli("resume", "--requester", "archive")
    assert resumed.stdout == "archive goes on\n"
    wait_until(lambda: len(stage.emulator.control.jobs()) > 1, what="an export of the list")
    drained = stage.cli("drain")
    assert drained.returncode == 0, drained.stderr
    made = len(stage.emulator.control.jobs())
    stored = stage.cli("list", "--state", "stored", "--json").stdout.splitlines()
    assert len(stored) == made
    waiting = stage.cli("request", an_asset()).stdout.strip()
    wait_until(lambda: stage.request(waiting), what="the request on record")
    late = stage.cli("drain", "--timeout", "0")
    assert late.returncode == 0  # what waits is not under way
    assert stage.cli("resume").returncode == 0
    stage.stored(waiting)


def test_who_stops_waiting_for_a_drain_leaves_it_paused(stage: Stage) -> None:
    stage.emulator.control.fault("media", "hang", times=None)
    stage.start("threads")
    request_id = stage.send(asset=an_asset())
    wait_until(
        lambda: (r := stage.request(request_id)) and r.state is State.DOWNLOADING,
        what="a download",
    )
    refused = stage.cli("drain", "--timeout", "0.5")
    assert refused.returncode == 1
    assert "1 are still under way; it stays paused" in refused.stderr
    assert json.loads(stage.cli("watch", "--once", "--json").stdout)["paused"] == ["*"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["request"], "name either an ASSET or a list"),
        (["request", "a" * 32, "--from", "x.csv"], "name either an ASSET or a list"),
        (["request", "a" * 32, "--batch", "x"], "are for a list"),
        (["request", "--from", "x.csv", "--id", "x"], "in a list it stands in the line"),
        (["request", "--from", "-"], "name the --batch"),
        (["request", "--from", "x.csv", "--batch", "x" * 65], "1 to 64 characters"),
        (["request", "--from", "x.csv", "--priority", "9999"], "priority"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(
    stage: Stage, arguments: list[str], says: str
) -> None:
    refused = stage.cli(*arguments)
    assert refused.returncode == 2
    assert says in refused.stderr


def test_a_list_that_can_not_be_read_is_told_with_the_remedy(stage: Stage) -> None:
    (stage.folder / "films.csv").write_text("film,title\n1,x\n")
    for command in (["request", "--from"], ["plan"]):
        refused = stage.cli(*command, str(stage.folder / "films.csv"))
        assert refused.returncode == 1
        assert "names no column `asset`" in refused.stderr
    absent = stage.cli("request", "--from", str(stage.folder / "nothing.csv"))
    assert absent.returncode == 1
    assert "nothing.csv" in absent.stderr
    for name in ("batches", "manifest"):
        unknown = stage.cli(name, "nothing")
        assert unknown.returncode == 1
        assert "there is no batch nothing" in unknown.stderr


def requests(stage: Stage) -> int:
    """Return how many requests the first of the batches has."""
    said = stage.cli("batches", "--json").stdout.splitlines()
    return int(json.loads(said[0])["requests"]) if said else 0


def test_a_list_from_standard_input_that_was_broken_off_is_gone_on_with(stage: Stage) -> None:
    command = [sys.executable, "-m", "worker.cli", "request", "--from", "-", "--batch", "piped"]
    many = [an_asset() for _ in range(1500)]
    with subprocess.Popen(
        command,
        env={**dict(stage.environment), "PYTHONPATH": str(Path.cwd()), "PATH": ""},
        cwd=stage.folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as broken:
        try:
            assert broken.stdin is not None
            broken.stdin.write("\n".join(many[:1200]).encode() + b"\n")
            broken.stdin.flush()
            wait_until(lambda: requests(stage) == 1000, what="the first thousand")
        finally:
            broken.kill()
    (stage.folder / "whole.txt").write_text("\n".join(many))
    gone_on = stage.cli("request", "--from", str(stage.folder / "whole.txt"), "--batch", "piped")
    assert gone_on.returncode == 0, gone_on.stderr
    assert "    1,000 were on record already" in gone_on.stderr
    assert "      500 to be exported" in gone_on.stderr
    assert requests(stage) == 1500


def test_a_batch_is_cancelled_and_what_failed_of_it_retried(
    stage: Stage, assets: list[str]
) -> None:
    assert stage.cli("pause").stdout == "everything paused\n"
    stage.cli("request", "--from", listed(stage))
    gone = stage.cli("cancel", "--batch", "archive")
    assert (gone.returncode, gone.stdout) == (0, "6 of 6 changed\n")
    assert stage.cli("resume").returncode == 0
    stage.start("threads")
    stage.cli("request", "--from", listed(stage), "--batch", "second", "--wait")
    assert len(stage.emulator.control.jobs()) == 5
    stage.emulator.control.asset(assets[-1], missing=False)
    again = stage.cli("retry", "--batch", "second")
    assert (again.returncode, again.stdout) == (0, "1 of 1 changed\n")
    stage.cli("request", "--from", listed(stage), "--batch", "second", "--wait")
    totals = json.loads(stage.cli("batches", "second", "--json").stdout)
    assert totals["states"]["stored"] == 6
    assert len(stage.emulator.control.jobs()) == 6
    unknown = stage.cli("cancel", "--batch", "nothing")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    for command in ("cancel", "retry"):
        assert stage.cli(command, "x", "--batch", "second").returncode == 2
