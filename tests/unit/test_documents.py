"""The documents are true: settings, errors, and the files that describe an installation."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from pydantic_core import PydanticUndefined

from tests import errors_page, settings_page
from worker.logs import FIELDS

ROOT = Path(__file__).parents[2]


def test_the_settings_page_lists_every_setting() -> None:
    assert settings_page.PATH.read_text() == settings_page.page(), "python -m tests.settings_page"


def test_the_example_documents_every_setting_with_its_default() -> None:
    example = (ROOT / ".env.example").read_text()
    given = dict(re.findall(r"^#? ?([A-Z_]+)=(.*)$", example, re.MULTILINE))
    for name, field in settings_page.FIELDS.items():
        default = "" if field.default in {PydanticUndefined, None} else field.default
        default = ",".join(default) if isinstance(default, tuple) else str(default)
        assert given.pop(name.upper()) == default, name
    assert set(given) == {"POSTGRES_PASSWORD", "FLOWER_BASIC_AUTH", "FORWARDED_ALLOW_IPS"}


def test_the_errors_page_says_what_the_operators_page_does() -> None:
    assert errors_page.PATH.read_text() == errors_page.page(), "python -m tests.errors_page"


def test_every_error_code_is_documented() -> None:
    documented = set(
        re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/errors.md").read_text(), re.MULTILINE)
    )
    raised = set()
    for file in (ROOT / "worker").rglob("*.py"):
        text = file.read_text()
        for call in re.finditer(
            r"(?:Transient|Permanent|OutcomeUnknown|unsure|\.fail|\.cancel|super\(\).__init__)\(\s*\"(\w+)\"",
            text,
        ):
            raised.add(call.group(1))
        raised |= set(
            re.findall(r"(?:error_code ?=|NOT_FOUND =|REFUSED =|CREDENTIALS =) ?\"(\w+)\"", text)
        )
    internal = {"races_lost", "list_too_long", "database_unavailable", "broker_unavailable"}
    internal.add("undelivered")  # of a notification, in Flower
    assert raised - internal == documented


def lines_logged() -> Iterator[tuple[Path, ast.Call, str]]:
    """Give each call by which the worker logs an event, with the name of its level."""
    for file in (ROOT / "worker").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name("_log"), attr=level)):
                    yield file, node, "error" if level == "exception" else level


def test_every_event_of_the_log_is_documented_with_its_level() -> None:
    page = (ROOT / "docs/logs.md").read_text()
    documented = re.findall(r"^\| (\w+) \| `([^`]+)` \|", page, re.MULTILINE)
    said = {
        (level, part.value)
        for _, call, level in lines_logged()
        for part in ast.walk(call.args[0])
        if isinstance(part, ast.Constant)
    }
    assert said == set(documented)
    events = [event for _, event in documented]
    assert len(events) == len(set(events)), "one event, one level"


def test_no_field_is_logged_in_vain() -> None:
    for file, call, _ in lines_logged():
        fields = {each.arg for each in call.keywords} - {None, "exc_info"}
        assert fields <= FIELDS, f"{file}:{call.lineno}"


def test_what_the_security_page_names_is_there() -> None:
    for path in re.findall(r"`((?:worker/)[\w/]+\.py)`", (ROOT / "SECURITY.md").read_text()):
        assert (ROOT / path).exists(), path


def test_the_services_whose_logs_are_read_are_there() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    for file in (ROOT / "README.md", *ROOT.glob("docs/*.md")):
        for said in re.findall(r"docker compose logs ([^|`\n]+)", file.read_text()):
            named = [word for word in said.split() if not word.startswith("-")]
            assert set(named) <= services.keys(), (file, said)


@pytest.mark.parametrize(
    "file",
    [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md"))],
    ids=lambda file: str(file.relative_to(ROOT)),
)
def test_links_lead_somewhere(file: Path) -> None:
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", file.read_text()):
        assert (file.parent / link).exists(), link
