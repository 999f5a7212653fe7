"""Secrets: the key and the signature are in no log, no repr, no message and no traceback."""

import json
import logging
import pickle
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from sqlalchemy.orm import Session, sessionmaker

from tests.factories import make_kit
from tests.raw_server import Heard, Say, http, raw_server
from tests.services import free_port
from tests.slicers import make_slicer
from worker.cloudslicer import CloudSlicer
from worker.errors import ExportError

KEY = "hunter2-hunter2"


def everything_of(error: BaseException) -> str:
    """Return all texts of an error and of those behind it, also where a traceback hides them."""
    texts = traceback.format_exception(error)
    waiting: list[BaseException | None] = [error]
    while waiting:
        if (behind := waiting.pop()) is not None:
            texts += [str(behind), repr(behind), repr(behind.args), repr(vars(behind))]
            waiting += [behind.__cause__, behind.__context__]
    return "\n".join(texts)


def fields(heard: Heard, name: str) -> list[str]:
    bodies = [request.partition(b"\r\n\r\n")[2].decode() for request in heard.requests]
    return [parse_qs(body)[name][0] for body in bodies]


def signatures(heard: Heard) -> list[str]:
    return fields(heard, "sig")


def failed(slicer: CloudSlicer) -> Iterator[BaseException]:
    """Make each call, and give what it ended in."""
    calls: list[Callable[[], object]] = [
        lambda: slicer.create_export("a", aaclc=True),
        lambda: slicer.get_job("a"),
        lambda: slicer.list_jobs(limit=1),
        lambda: slicer.cancel_job("a"),
        lambda: slicer.delete_jobs(["a"]),
    ]
    for call in calls:
        with pytest.raises(ExportError) as error:
            call()
        yield error.value


def test_the_key_is_not_in_the_repr_of_the_client() -> None:
    slicer = make_slicer("http://127.0.0.1:1", key=KEY)
    assert KEY not in f"{slicer!r} {slicer} {vars(slicer)}"


def test_settings_and_kit_show_no_secret(sessions: sessionmaker[Session], tmp_path: Path) -> None:
    secrets: dict[str, Any] = {
        "uplynk_api_key": KEY,
        "celery_broker_url": "redis://:hunter2-of-the-broker@127.0.0.1:1/0",
        "database_url": "postgresql://export:hunter2-of-the-database@127.0.0.1:1/x",
    }
    kit = make_kit(sessions, tmp_path, **secrets)
    for shown in (
        kit,
        kit.settings,
        kit.slicer,
        kit.settings.model_dump(include={"uplynk_api_key"}),
    ):
        assert "hunter2" not in f"{shown!r} {shown}"


def test_what_pickles_of_errors_hold_shows_no_secret() -> None:
    echo = json.dumps({"error": 5, "msg": f"{KEY} is no good"}).encode()
    for answer in (http(body=echo), http("403 No", echo), http("500 Oops", echo), Say()):
        with raw_server(answer) as heard:
            errors = list(failed(make_slicer(heard.url, key=KEY)))
        for error in errors:
            assert KEY.encode() not in pickle.dumps(error)
            assert KEY not in everything_of(error)


@pytest.mark.parametrize(
    "answer",
    [
        Say(),
        Say(reset=True),
        http("500 Oops", b"<html>"),
        http("403 No"),
        http(body=b"x"),
        http(body=b'{"error": 1, "msg": "no"}'),
        http(body=b'{"error": 0, "job": 5}'),
    ],
    ids=lambda answer: answer.head[:12].decode() + str(answer.reset),
)
def test_no_error_nor_log_line_shows_the_key(answer: Say, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="urllib3")  # which is quiet where logs are configured
    with raw_server(answer) as heard:
        texts = [everything_of(error) for error in failed(make_slicer(heard.url, key=KEY))]
    shown = "\n".join([*texts, caplog.text])
    assert KEY not in shown
    assert "127.0.0.1" in caplog.text  # else nothing was looked at
    assert [signature for signature in signatures(heard) if signature in shown] == []


def test_a_connection_that_is_never_made_shows_nothing_either(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    slicer = make_slicer(f"http://127.0.0.1:{free_port()}", key=KEY)
    texts = [everything_of(error) for error in failed(slicer)]
    assert KEY not in "\n".join([*texts, caplog.text])


def test_a_server_that_echoes_the_call_does_not_bring_its_signature_into_the_message() -> None:
    with raw_server(http("500 Oops")) as heard:
        list(failed(make_slicer(heard.url, key=KEY)))
    (signature, *_), (message, *_) = signatures(heard), fields(heard, "msg")
    said = json.dumps({"error": 5, "msg": f"wrong sum {signature} of {message}"}).encode()
    with raw_server(http(body=said)) as heard:
        texts = [everything_of(error) for error in failed(make_slicer(heard.url, key=KEY))]
    assert "wrong sum … of …" in texts[0]
    assert signature not in "\n".join(texts)
    assert message not in "\n".join(texts)
