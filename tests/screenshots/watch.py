"""What `uplynk-export watch` prints on a terminal, as the README shows it."""

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from fcntl import ioctl
from pathlib import Path
from struct import pack
from tempfile import TemporaryDirectory
from termios import TIOCSWINSZ
from typing import Any
from uuid import uuid4

from rich.console import Console
from rich.text import Text
from sqlalchemy.orm import Session, sessionmaker

import migrations
from models import State, admission
from tests.browser import opened
from tests.engines import sessions_on
from tests.factories import ACCOUNT, build_export

COLUMNS, LINES = 80, 24
COMMAND = ("uplynk-export", "watch", "--once")
# rich's own, without the font that it would load from elsewhere
SVG = """
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}">
<style>
.{unique_id}-matrix {{ font-family: "DejaVu Sans Mono", monospace; font-size: {char_height}px;
  line-height: {line_height}px; }}
.{unique_id}-title {{ font-size: 18px; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
  <rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">{matrix}</g>
</g>
</svg>
"""


def take(folder: Path) -> Iterator[Path]:
    """Take the picture; gives where it is."""
    with TemporaryDirectory() as scratch:
        url = f"sqlite:///{scratch}/catalogue.db"
        migrations.upgrade(url)
        with sessions_on(url) as sessions:
            fill(sessions)
        said = printed({"DATABASE_URL": url, "UPLYNK_USER_ID": ACCOUNT})
    with opened(width=1000, height=600, scale=1.5) as page:
        page.set_content(f'<body style="margin: 0">{svg(said)}</body>')
        page.locator("svg").screenshot(path=folder / "watch.png", omit_background=True)
    yield folder / "watch.png"


def fill(sessions: sessionmaker[Session]) -> None:
    """Have an archive under way, and a newsroom beside it."""
    now = datetime.now(UTC)

    def some(number: int, state: State, **members: Any) -> Iterator[Any]:
        ended = state not in {State.REQUESTED, State.EXPORTING, State.DOWNLOADING}
        for index in range(number):
            since = now - timedelta(seconds=3300 * (index + 1) / number)
            due = None if ended else now
            yield build_export(state=state, due_at=due, state_since=since, **members)

    claimed = {"claim": uuid4(), "claimed_until": now + timedelta(minutes=1)}
    with sessions.begin() as session:
        session.add_all(some(2817, State.REQUESTED))
        session.add_all(some(64, State.EXPORTING))
        done = now - timedelta(hours=3, minutes=12)
        session.add_all(some(9, State.DOWNLOADING, done_at=now))
        session.add_all(
            some(6, State.DOWNLOADING, done_at=done, bytes_per_second=21.4e6, **claimed)
        )
        session.add_all(some(412, State.STORED))
        session.add_all(some(7, State.FAILED, error_code="export_error"))
        session.add_all(some(2, State.FAILED, error_code="file_unavailable"))
        admission.pause(session, account=ACCOUNT, requester="archive-1998", now=now)


def printed(environment: dict[str, str]) -> str:
    """Return what the command writes to a terminal of that size."""
    ours, its = pty.openpty()
    ioctl(its, TIOCSWINSZ, pack("HHHH", LINES, COLUMNS, 0, 0))
    plain = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    with subprocess.Popen(
        [sys.executable, "-m", "worker.cli", *COMMAND[1:]],
        env={**plain, "TERM": "xterm-256color", **environment},
        stdout=its,
        stderr=its,
    ) as process:
        os.close(its)
        said = b""
        with suppress(OSError):  # that is how a terminal ends
            while some := os.read(ours, 4096):
                said += some
    os.close(ours)
    assert process.returncode == 0, said.decode()
    return said.decode().replace("\r\n", "\n")


def svg(said: str) -> str:
    """Return a picture of a terminal that shows this, below the command."""
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True)
        console.print(Text.assemble(("$ ", "green"), " ".join(COMMAND)))
        console.print(Text.from_ansi(said))
        return console.export_svg(title="", code_format=SVG, unique_id="terminal")
