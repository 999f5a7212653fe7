"""The command line: it loads no more than a command needs, and says what each does."""

import subprocess
import sys

import click
import pytest

from worker.cli import COMMANDS, main

HEAVY = {"alembic", "aiohttp", "fakeredis", "av", "celery.app", "sqlalchemy.orm"}
HELP = """
import sys
from contextlib import suppress
from worker.cli import main
with suppress(SystemExit):
    main(["--help"])
print(*sys.modules, file=sys.stderr)
"""


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_of_a_command_what_the_command_says_itself(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    said = (command.help or "").split("\n\n")[0].replace("\n", " ")
    assert COMMANDS[name].help == said


def test_what_is_no_command_is_told_in_words() -> None:
    assert main.get_command(click.Context(main), "requests") is None


def test_help_loads_no_command() -> None:
    told = subprocess.run(
        [sys.executable, "-c", HELP], capture_output=True, text=True, timeout=60, check=True
    )
    for name, command in COMMANDS.items():
        assert name in told.stdout
        assert command.help.split()[0] in told.stdout
    assert HEAVY.isdisjoint(told.stderr.split())
