"""Logs: one form for all lines, and nothing in them that is not on the list."""

import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import structlog
from celery import Celery
from celery.signals import setup_logging
from click.core import ParameterSource
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from worker import logs

SECRET = "hunter2-hunter2"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Leave the process' logging as it was found."""
    root = logging.getLogger()
    set_here = [
        logging.getLogger(name)
        for name in ("urllib3", "opentelemetry.exporter", "celery.pool", *logs.CHATTER)
    ]
    levels = {logger: logger.level for logger in (root, *set_here)}
    handlers, configuration = list(root.handlers), structlog.get_config()
    yield
    logging.getLogger("multiprocessing").handlers.clear()
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.handlers[:] = handlers
    for logger, level in levels.items():
        logger.setLevel(level)
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
    told = {"name": "exports.poll", "id": "42", "kwargs": SECRET}
    logger = logging.getLogger("celery.app.trace")
    logger.error("Task %(name)s[%(id)s] failed", told, extra={"data": told, "args_of_it": SECRET})
    fields = shown(capsys)
    assert fields.pop("timestamp").endswith("Z")
    assert fields == {
        "event": "Task exports.poll[42] failed",
        "level": "error",
        "logger": "celery.app.trace",
        "task": "exports.poll",
        "task_id": "42",
    }


@pytest.mark.parametrize(("level", "count"), [(logging.INFO, 1), (logging.DEBUG, 3)])
def test_celerys_chatter_is_for_who_looks_for_bugs(
    level: int, count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure("json", level=level)
    logging.getLogger("celery.worker.strategy").info("Task x received")
    logging.getLogger("celery.app.trace").info("Task x succeeded")
    logging.getLogger("celery.worker.consumer").info("Connected")
    logging.getLogger("celery.pool").debug("TaskPool: Apply x (args:%s)", SECRET)
    assert len(capsys.readouterr().err.splitlines()) == count


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


def test_a_terminal_is_moved_by_nothing_that_is_on_a_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure("console")
    escape = "\x1b[2Jsaid\r\n2026-03-01 [info] forged"
    logs.get_logger("worker.test").info("ours", message=escape)
    logging.getLogger("celery.worker").warning("theirs: %s", escape)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all("said 2026-03-01 [info] forged" in line for line in lines)
    logs.get_logger("worker.test").error("it failed", exc_info=ValueError(escape))
    lines.append(capsys.readouterr().err)
    assert "ValueError: " in lines[-1]
    assert "\x1b[2J" not in "".join(lines)


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


def ids(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Return the ids on a line that is logged now."""
    logs.get_logger("worker.test").warning("x")
    fields = shown(capsys)
    return {name: value for name, value in fields.items() if name in {"task_id", "export_id"}}


def test_a_task_s_ids_are_gone_at_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json")
    logs.enter(task_id="1")
    with logs.about(export_id="a"):
        assert ids(capsys) == {"task_id": "1", "export_id": "a"}
    assert ids(capsys) == {"task_id": "1"}
    structlog.contextvars.bind_contextvars(export_id="left behind")
    logs.leave()
    assert ids(capsys) == {}
    logs.leave()  # one that never began
    assert ids(capsys) == {}


def test_a_task_within_another_leaves_that_one_s_ids_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure("json")
    logs.enter(task_id="1")
    with logs.about(export_id="a"):
        logs.enter(task_id="2")
        assert ids(capsys) == {"task_id": "2"}
        logs.leave()
        assert ids(capsys) == {"task_id": "1", "export_id": "a"}
    logs.leave()


def test_an_error_that_ends_a_task_is_told_with_the_ids_where_it_was(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure("json")
    logs.enter(task_id="1")
    with pytest.raises(ValueError, match="length"), logs.about(export_id="a"):
        fail()
    assert ids(capsys) == {"task_id": "1", "export_id": "a"}
    logs.leave()
    with pytest.raises(ValueError, match="length"), logs.about(export_id="a"):
        fail()
    assert ids(capsys) == {}, "no task, whose end would forget them"


def test_a_text_is_cut_to_what_a_line_holds(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json")
    try:
        dict[str, int]()["x" * 100_000]
    except KeyError:
        logs.get_logger("worker.test").exception("it failed")
    line = capsys.readouterr().err
    assert len(line) < 8192
    assert json.loads(line)["exception"].startswith("Traceback")


def test_warnings_and_errors_that_nobody_caught_are_lines_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, hook in ((sys, "excepthook"), (threading, "excepthook"), (sys, "unraisablehook")):
        monkeypatch.setattr(module, hook, getattr(module, hook))
    logs.configure("json")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logs.take_over()
        warnings.warn("old", stacklevel=1)
        logging.captureWarnings(capture=False)
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["logger"] for line in lines] == ["py.warnings", "worker.logs"]
    assert "UserWarning: old" in lines[0]["event"]
    assert "ValueError: length 15" in lines[1]["exception"]


def test_lines_go_into_a_file_where_that_is_said(tmp_path: Path) -> None:
    logs.configure("auto", file=str(tmp_path / "log"))
    logs.get_logger("worker.test").info("x")
    assert json.loads((tmp_path / "log").read_text())["event"] == "x"


@pytest.mark.parametrize(
    ("source", "level"),
    [(ParameterSource.COMMANDLINE, logging.ERROR), (ParameterSource.DEFAULT, logging.INFO)],
)
def test_celerys_option_beats_log_level_if_it_is_given(
    app: Celery, source: ParameterSource, level: int
) -> None:
    assert app.conf.task_default_queue  # whose module listens
    context = click.Context(click.Command("worker"))
    context.set_parameter_source("loglevel", source)
    with context.scope():
        setup_logging.send(sender=None, loglevel="ERROR")
    assert logging.getLogger().level == level
