"""The command line: it loads no more than a command needs, and says what each does."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.shell_completion import BashComplete, CompletionItem

from tests.typed import typed
from worker.cli import COMMANDS, main
from worker.cli.page import url_of
from worker.cli.status import Status

PAGE = Path(__file__).parents[2] / "docs/cli.md"
VARIABLE = re.compile(r"[A-Z_]+=\S*")

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


@pytest.mark.parametrize(
    ("address", "url"),
    [
        (("127.0.0.1", 5556), "http://127.0.0.1:5556"),
        (("::1", 5556, 0, 0), "http://[::1]:5556"),
    ],
)
def test_where_the_operators_page_is_is_told_as_a_browser_takes_it(
    address: tuple[Any, ...], url: str
) -> None:
    assert url_of(*address) == url


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


def words(example: str) -> list[str]:
    """Return what a shell would hand to our program, of a line that may pipe it somewhere."""
    lexer = shlex.shlex(example, posix=True, punctuation_chars="|><()")
    lexer.whitespace_split = True
    commands: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set("|><()"):
            commands.append([])
        else:
            commands[-1].append(word)
    [ours] = [
        command[command.index("uplynk-export") + 1 :]
        for command in commands
        if "uplynk-export" in command
        and all(map(VARIABLE.fullmatch, command[: command.index("uplynk-export")]))
    ]
    return ours


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_has_examples_that_it_takes(name: str) -> None:
    told = typed(name, "--help")
    assert told.exit_code == Status.DONE
    _, _, examples = told.stdout.partition("Examples:\n")
    lines = examples.split("\n\n")[0].strip().splitlines()
    assert lines, told.stdout
    for line in lines:
        assert len(line) <= 80
        inner = re.search(r"\$\((.+)\)", line)
        called, *arguments = words(inner[1] if inner else line)
        assert called == name
        command = main.get_command(click.Context(main), name)
        assert command is not None
        command.make_context(name, arguments, parent=click.Context(main))


def completed(*typed: str) -> list[str]:
    complete = BashComplete(main, {}, "uplynk-export", "_UPLYNK_EXPORT_COMPLETE")
    *before, last = typed
    offered: list[CompletionItem[str]] = complete.get_completions(before, last)
    return [each.value for each in offered]


def test_a_shell_is_offered_what_can_be_said() -> None:
    assert completed("re") == ["request", "resume", "retry"]
    assert completed("list", "--state", "s") == ["submitting", "stored"]
    assert completed("retry", "--code", "storage") == ["storage_unavailable"]
    assert "--batch" in completed("list", "--b")


@pytest.mark.parametrize(
    "url", ["sqlite:////nowhere/x.db", "nonsense", "postgresql://127.0.0.1:1/x"]
)
def test_without_a_database_no_batches_are_offered(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    assert completed("manifest", "") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_script(shell: str) -> None:
    told = typed("completion", shell)
    assert told.exit_code == Status.DONE, told.output
    assert f"_UPLYNK_EXPORT_COMPLETE={shell}_complete" in told.stdout


def test_a_code_that_is_none_is_told_with_one_that_is_like_it() -> None:
    told = typed("retry", "--code", "storge_unavailable")
    assert told.exit_code == Status.USAGE
    assert told.stdout == ""
    assert "did you mean storage_unavailable" in told.stderr


def test_the_page_names_every_command_and_every_exit_status() -> None:
    page = PAGE.read_text()
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)] == list(Status)
    for name in COMMANDS:
        assert f"`{name}`" in page, name
