import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.forge import Forge, forge

# prints a page to its output, and what is wrong to the other
TOOL = [sys.executable, "-m", "json.tool"]
WAITER = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "0"]


@pytest.fixture(scope="session")
def started() -> Iterator[Forge]:
    with forge() as started:
        yield started


def test_what_it_makes_does_as_any_process(started: Forge) -> None:
    for arguments in (["--help"], ["nowhere.json"], ["--wrong"]):
        command = [*TOOL, *arguments]
        ours = started.run(command, os.environ, timeout=20)
        theirs = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (ours.returncode, ours.stdout) == (theirs.returncode, theirs.stdout)
        assert ours.stderr.splitlines()[-1:] == theirs.stderr.splitlines()[-1:]


def test_the_environment_is_the_one_that_was_given(started: Forge) -> None:
    shown = started.run([sys.executable, "-m", "site"], {"HOME": "/nowhere"}, timeout=20)
    assert "USER_BASE: '/nowhere/" in shown.stdout


def test_it_ends_by_a_signal_and_that_is_told(started: Forge) -> None:
    process = started.launch(WAITER, os.environ, None)
    assert os.getsid(process.pid) == process.pid
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    process.kill()
    assert process.wait(10) == -signal.SIGKILL
    process.terminate()  # as nothing any more: another may have its number
