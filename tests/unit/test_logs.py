"""Logs: one form for all lines, and nothing in them that is not on the list."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from worker import logs

SECRET = "hunter2-hunter2"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Leave the process' logging as it was found."""
    root, urllib3 = logging.getLogger(), logging.getLogger("urllib3")
    handlers, level, urllib3_level = list(root.handlers), root.level, urllib3.level
    configuration = structlog.get_config()
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    urllib3.setLevel(urllib3_level)
    structlog.configure(**configuration)
    structlog.contextvars.clear_contextvars()


def shown(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Return the one line that was logged."""
    (line,) = capsys.readouterr().err.splitlines()
    fields: dict[str, Any] = json.loads(line)
    return fields


def fail() -> None:
    inner_secret = SECRET[::-1][::-1]
    raise ValueError(f"length {len(inner_secret)}")


def test_a_line_is_json_with_its_event_and_fields(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json")
    logs.get_logger("worker.test").info("export stored", export_id="42", bytes=7)
    fields = shown(capsys)
    assert fields.pop("timestamp").endswith("Z")
    assert fields == {
        "event": "export stored",
        "export_id": "42",
        "bytes": 7,
        "level": "info",
        "logger": "worker.test",
    }


def test_a_field_that_is_not_on_the_list_is_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json")
    logs.get_logger("worker.test").warning("x", url=SECRET, key=SECRET, asset="a")
    line = capsys.readouterr().err
    assert SECRET not in line
    assert json.loads(line)["asset"] == "a"


@settings(deadline=None)
@given(fields=st.dictionaries(st.text(), st.integers()))
def test_only_what_is_listed_is_left(fields: dict[str, int]) -> None:
    left = logs.only_listed(None, "info", {**fields, "asset": 1})
    assert left.keys() - logs.FIELDS <= {"_record", "_from_structlog", "exc_info", "stack_info"}
    assert left["asset"] == 1


def test_what_is_bound_to_the_context_is_filtered_too(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json")
    structlog.contextvars.bind_contextvars(task="exports.poll", password=SECRET)
    logs.get_logger("worker.test").info("ours")
    logging.getLogger("celery.worker").warning("theirs")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["task"] for line in lines] == ["exports.poll", "exports.poll"]
    assert "password" not in {*lines[0], *lines[1]}


def test_a_secret_in_a_listed_field_is_masked(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json")
    logs.get_logger("worker.test").info("x", message=SecretStr(SECRET))
    assert SECRET not in capsys.readouterr().err


def test_celerys_lines_have_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json")
    logging.getLogger("celery.app.trace").info("Task %s succeeded", "x", extra={"data": SECRET})
    fields = shown(capsys)
    assert fields.pop("timestamp").endswith("Z")
    assert fields == {
        "event": "Task x succeeded",
        "level": "info",
        "logger": "celery.app.trace",
    }


@pytest.mark.parametrize("style", ["json", "console"])
@pytest.mark.parametrize("name", ["worker.test", "celery.app.trace"])
def test_a_traceback_holds_no_local_variables(
    style: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure(style)
    logger = logs.get_logger(name) if name.startswith("worker") else logging.getLogger(name)
    try:
        fail()
    except ValueError:
        logger.exception("it failed")
    text = capsys.readouterr().err
    assert "it failed" in text
    assert "ValueError: length 15" in text
    assert "in fail" in text
    assert SECRET not in text


def test_a_traceback_is_one_field_of_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json")
    try:
        fail()
    except ValueError:
        logs.get_logger("worker.test").exception("it failed", export_id="42")
    fields = shown(capsys)
    assert fields["exception"].startswith("Traceback")
    assert fields["export_id"] == "42"


def test_a_line_break_in_a_field_makes_no_second_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json")
    logs.get_logger("worker.test").info("x", message='a\n{"event": "forged"}')
    assert shown(capsys)["message"] == 'a\n{"event": "forged"}'


def test_the_console_form_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("console")
    logs.get_logger("worker.test").info("export stored", asset="a", url=SECRET)
    text = capsys.readouterr().err
    assert "export stored" in text
    assert "asset=a" in text
    assert SECRET not in text


def test_without_a_terminal_the_form_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("auto")
    logs.get_logger("worker.test").info("x")
    assert shown(capsys)["event"] == "x"


def test_what_is_below_the_level_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json", level=logging.WARNING)
    logs.get_logger("worker.test").info("x")
    logging.getLogger("celery").info("x")
    assert capsys.readouterr().err == ""


def test_whole_urls_are_not_shown_at_any_level(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json", level=logging.DEBUG)
    logging.getLogger("urllib3.connectionpool").debug("GET /a.mp4?token=%s", SECRET)
    logging.getLogger("urllib3.connectionpool").warning("bad headers (url=/a.mp4?%s)", SECRET)
    assert capsys.readouterr().err == ""


def test_configuring_twice_shows_a_line_once(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json")
    logs.configure("json")
    logs.get_logger("worker.test").info("x")
    assert shown(capsys)["event"] == "x"
