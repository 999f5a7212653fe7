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


def test_a_network_lets_its_addresses_pass_and_no_others() -> None:
    networks = ("10.1.0.0/16", "fd00::/8")
    for host in ("10.1.2.3", "[fd12::1]", "[::ffff:10.1.2.3]"):
        hosts.check(f"http://{host}/", networks)
    for host in ("10.2.0.1", "[fe80::1]", "[::ffff:10.2.0.1]", "x.10.1.0.0", "8.8.8.8"):
        with pytest.raises(Transient, match="does not list"):
            hosts.check(f"http://{host}/", networks)


PUBLIC = ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"]
NOT_PUBLIC = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",  # noqa: S104  (nothing is bound)
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:0:10.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2002:a00:1::",
    "2001:0:1::1",
    "2001:db8::1",
    "fc00::1",
    "fd12::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "4000::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_a_listed_name_may_be_at_a_public_address(address: str) -> None:
    hosts.check_address("uplynk.com", address, ("uplynk.com",))


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_a_listed_name_may_not_be_at_any_other_unless_its_network_is_listed(address: str) -> None:
    with pytest.raises(Transient) as refused:
        hosts.check_address("uplynk.com", address, ("uplynk.com", "11.0.0.0/8"))
    assert refused.value.code == "file_host_unlisted"
    assert "uplynk.com" in refused.value.message
    assert address in refused.value.message
    assert "DOWNLOAD_HOSTS" in refused.value.message
    hosts.check_address("uplynk.com", address, ("uplynk.com", address.partition("%")[0]))


@settings(deadline=None)
@given(pieces=st.lists(PIECES, max_size=8))
def test_what_passes_is_where_requests_goes(pieces: list[str]) -> None:
    url = "http://" + "".join(pieces)
    with suppress(Permanent, Transient, requests.RequestException):
        hosts.check(url, ("uplynk.com",))
        request = requests.Request("GET", url).prepare()
        goal, _ = HTTPAdapter().build_connection_pool_key_attributes(request, verify=True)
        assert f".{goal['host']}".rstrip(".").endswith(".uplynk.com")
