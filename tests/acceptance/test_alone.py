"""The commands that bring all that they need: they leave files, and nothing else."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import pytest

from tests.acceptance.stage import Desk
from tests.factories import ASSET, an_asset
from tests.waiting import wait_until

LONG_SECONDS = 3600


def test_the_demo_exports_two_films_and_shows_a_failure(desk: Desk) -> None:
    shown = desk.cli("demo", "--dir", str(desk.folder / "demo"))
    assert shown.returncode == 0, shown.stdout + shown.stderr
    films = sorted((desk.folder / "demo" / "exports").rglob("*.mp4"))
    assert len(films) == 2
    for film in films:
        with av.open(str(film)) as container:
            assert container.streams.video
        assert str(film) in shown.stdout
    assert len(list((desk.folder / "demo" / "exports").rglob("*.ttml"))) == 1
    assert len(re.findall(r"\b[0-9a-f]{64}\b", shown.stdout)) == 2
    assert "export_error: Uplynk could not export the asset" in shown.stdout


def test_run_leaves_only_the_files(desk: Desk) -> None:
    out = desk.folder / "out"
    assets = [an_asset(), an_asset()]
    shown = desk.cli("run", *assets, "--out", str(out), "--emulator", "--aaclc")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    films = [path for path in out.iterdir() if path.suffix == ".mp4"]
    assert sorted(film.name[:32] for film in films) == sorted(assets)
    assert {path.suffix for path in out.iterdir()} <= {".mp4", ".ttml"}
    assert f"{assets[0]}  aac-lc  stored" in shown.stdout


@contextmanager
def run(desk: Desk, asset: str, out: Path, **settings: str) -> Iterator[subprocess.Popen[str]]:
    """Give a run once Uplynk has its job; whatever becomes of the test, it is gone at the end."""
    desk.emulator.control.asset(asset, run_seconds=LONG_SECONDS)  # it can't end before it is told
    with subprocess.Popen(
        [sys.executable, "-m", "worker.cli", "run", asset, "--out", str(out)],
        env={**os.environ, **desk.environment, **settings},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            # many processes start at once when all tests do
            wait_until(lambda: desk.emulator.control.jobs(asset), seconds=90, what="a job")
            yield process
        finally:
            process.terminate()


@pytest.mark.timeout(180)
def test_a_run_that_was_interrupted_goes_on_without_paying_again(desk: Desk) -> None:
    out = desk.folder / "out"
    asset = an_asset()
    settings = {"POLL_MIN_SECONDS": "0.5"}
    with run(desk, asset, out, **settings) as first:
        first.send_signal(signal.SIGINT)
        said, _ = first.communicate(timeout=30)
        assert first.returncode == 130
    assert "The same command goes on from here" in said
    desk.emulator.control.advance(LONG_SECONDS)
    second = desk.cli("run", asset, "--out", str(out), **settings)
    assert second.returncode == 0, second.stdout + second.stderr
    assert len(desk.emulator.control.jobs(asset)) == 1
    assert not (out / ".uplynk-export").exists()


def test_a_run_that_could_not_export_everything_says_so(desk: Desk) -> None:
    desk.emulator.control.asset(ASSET, missing=True)
    shown = desk.cli("run", ASSET, "--out", str(desk.folder / "out"))
    assert shown.returncode == 1
    assert "uplynk_not_found" in shown.stdout


def test_a_demo_removes_nothing_but_an_earlier_demo(desk: Desk) -> None:
    precious = desk.folder / "precious"
    precious.mkdir()
    (precious / "master.mov").write_text("film")
    refused = desk.cli("demo", "--dir", str(precious))
    assert refused.returncode == 2
    assert "is not empty, and holds no demo" in refused.stderr
    assert (precious / "master.mov").exists()


@pytest.mark.timeout(180)
def test_two_runs_do_not_share_a_folder_and_none_forgets_what_another_paid_for(
    desk: Desk,
) -> None:
    out = desk.folder / "out"
    first, second = an_asset(), an_asset()
    quick = {"POLL_MIN_SECONDS": "0.5"}
    with run(desk, first, out, **quick) as running:
        refused = desk.cli("run", second, "--out", str(out))
        assert refused.returncode == 1
        assert "another run is at work" in refused.stderr
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=30)
        assert running.returncode == 130
    desk.emulator.control.advance(LONG_SECONDS)
    desk.emulator.control.asset(second, run_seconds=5)  # the first is brought meanwhile
    assert desk.cli("run", second, "--out", str(out), **quick).returncode == 0
    assert desk.cli("run", first, "--out", str(out), **quick).returncode == 0
    assert len(desk.emulator.control.jobs(first)) == 1
    assert {path.suffix for path in out.iterdir()} <= {".mp4", ".ttml"}
