"""Hosts: what passes is fetched from a host on the list, as requests reads the URL."""

from contextlib import suppress

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from requests.adapters import HTTPAdapter

from worker.errors import Permanent, Transient
from worker.transfer import hosts

ALLOWED = ("uplynk.com", "127.0.0.1", "::1")
PIECES = st.sampled_from(
    [*"\\/@:?#.[]%\t\n ", "http://", "https:", "uplynk.com", "evil.com", "%2e", "。", "℀", ":80"]
)


@pytest.mark.parametrize(
    "url",
    [
        "http://uplynk.com/a.mp4",
        "https://UPLYNK.com",
        "HTTP://cdn.uplynk.com:8080/a.mp4?x=1#y",
        "http://a.b.c.uplynk.com/",
        "http://uplynk.com./",
        "http://127.0.0.1:9/a",
        "http://[::1]:9/a",
    ],
)
def test_a_listed_host_and_what_is_below_it_pass(url: str) -> None:
    hosts.check(url, ALLOWED)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://evil.com/uplynk.com", "evil.com"),
        ("http://notuplynk.com/", "notuplynk.com"),
        ("http://uplynk.com.evil.com/", "uplynk.com.evil.com"),
        ("http://evil.com/@uplynk.com/", "evil.com"),
        ("http://evil.com#@uplynk.com/", "evil.com"),
        ("http://evil.com?@uplynk.com/", "evil.com"),
        ("http://evil.com\\@uplynk.com/", "evil.com"),
        ("http://evil.com\\.uplynk.com/", "evil.com"),
        ("http://com/", "com"),
        ("http://127.0.0.1.evil.com/", "127.0.0.1.evil.com"),
        ("http://[::2]/", "::2"),
        ("http://2130706433/", "2130706433"),
    ],
)
def test_any_other_host_is_refused_by_its_name(url: str, host: str) -> None:
    with pytest.raises(Transient) as refused:
        hosts.check(url, ALLOWED)
    assert refused.value.code == "file_host_unlisted"
    assert refused.value.message == f"the file is on {host}, which DOWNLOAD_HOSTS does not list"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "uplynk.com/a.mp4",
        "//uplynk.com/a.mp4",
        "ftp://uplynk.com/",
        "file:///etc/passwd",
        "file://uplynk.com/etc/passwd",
        "http:///uplynk.com",
        "http:uplynk.com",
        "http://",
        "http://.",
        "javascript:alert(1)",
    ],
)
def test_what_is_no_http_url_is_refused(url: str) -> None:
    with pytest.raises(Permanent, match="no http"):
        hosts.check(url, ALLOWED)


@pytest.mark.parametrize(
    "url",
    [
        "http://[/",
        "http://[::1/",
        "http://uplynk.com:99999/",
        "http://uplynk.com:port/",
        "http://uplynk.com℀.evil.com/",
        "http://\tuplynk.com/",
        "http://uplynk.com\n.evil.com/",
        " http://uplynk.com/",
        "http://evil.com\0.uplynk.com/",
    ],
)
def test_what_cannot_be_read_is_refused(url: str) -> None:
    with pytest.raises(Permanent) as refused:
        hosts.check(url, ALLOWED)
    assert refused.value.code == "file_url_refused"


@pytest.mark.parametrize("user", ["u", "u:p", ":", "uplynk.com", "。:。"])
def test_a_url_with_a_user_is_refused(user: str) -> None:
    for host in ("uplynk.com", "evil.com"):
        with pytest.raises(Permanent, match="names a user"):
            hosts.check(f"http://{user}@{host}/", ALLOWED)


def test_nothing_passes_an_empty_list() -> None:
    with pytest.raises(Transient, match="does not list"):
        hosts.check("http://uplynk.com/", ())


@settings(deadline=None)
@given(pieces=st.lists(PIECES, max_size=8))
def test_what_passes_is_where_requests_goes(pieces: list[str]) -> None:
    url = "http://" + "".join(pieces)
    with suppress(Permanent, Transient, requests.RequestException):
        hosts.check(url, ("uplynk.com",))
        request = requests.Request("GET", url).prepare()
        goal, _ = HTTPAdapter().build_connection_pool_key_attributes(request, verify=True)
        assert f".{goal['host']}".rstrip(".").endswith(".uplynk.com")
