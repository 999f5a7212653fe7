"""Proxies: what the environment says of a host is read once, and is what requests would read."""

import pytest
import requests

from worker.proxies import Session

URLS = ["http://a.test/x", "https://a.test/y", "https://b.test:8443/z", "http://inside.test/"]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "http_proxy": "http://proxy.test:3128",
        "https_proxy": "http://proxy.test:3129",
        "no_proxy": "inside.test",
        "REQUESTS_CA_BUNDLE": "/ca.pem",
    }.items():
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("said", [({}, True, None, None), ({}, None, False, None)])
def test_it_sends_what_requests_would(url: str, said: tuple[object, ...]) -> None:
    session = Session()
    expected = requests.Session().merge_environment_settings(url, *said)  # type: ignore[arg-type]
    for _ in range(2):
        told = session.merge_environment_settings(url, *said)  # type: ignore[arg-type]
        assert told == expected


def test_the_environment_is_read_once_for_each_host(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session()
    before = session.merge_environment_settings(URLS[0], {}, True, None, None)  # noqa: FBT003
    monkeypatch.setenv("http_proxy", "http://another.test")
    after = session.merge_environment_settings(URLS[0], {}, True, None, None)  # noqa: FBT003
    other = session.merge_environment_settings("http://c.test", {}, True, None, None)  # noqa: FBT003
    assert before == after
    assert other["proxies"]["http"] == "http://another.test"
