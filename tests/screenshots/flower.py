"""Flower beside real workers, as docs/operate.md shows it."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from emulator.server import Emulator
from emulator.settings import EmulatorSettings
from models.database import open_sessions
from tests.acceptance.stage import Stage, cleared
from tests.browser import opened
from tests.databases import Copies
from tests.engines import opened as opened_engine
from tests.flowering import USER, flower, played, settled
from tests.forge import forge


def take(folder: Path) -> Iterator[Path]:
    """Take the picture; gives where it is."""
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(TemporaryDirectory()))
        copies = Copies(os.environ["TEST_DATABASE_URL"])
        stack.callback(copies.close)
        url = stack.enter_context(copies.one(scratch))
        engine = stack.enter_context(opened_engine(url))
        emulator = Emulator(EmulatorSettings(run_seconds=2.0, media_seconds=2.0, media_dir=scratch))
        stage = Stage(
            folder=scratch,
            emulator=stack.enter_context(emulator),
            forge=stack.enter_context(forge()),
            settings={"SWEEP_SECONDS": "10"},
            database_url=url,
            broker_url=os.environ["TEST_REDIS_URL"],
            sessions=open_sessions(engine),
        )
        stack.enter_context(cleared(stage))
        page = stack.enter_context(flower(stage, FLOWER_BASIC_AUTH=":".join(USER)))
        played(stage)
        settled(page)
        with opened(width=1920, height=960, user=USER) as browser:
            browser.goto(f"{page}/tasks")
            browser.locator("#tasks-table tbody tr", has_text="RETRY").first.wait_for()
            browser.screenshot(path=folder / "flower.png", animations="disabled")
    yield folder / "flower.png"
