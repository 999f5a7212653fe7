"""Fetch: a name is believed only where it leads to a public address, or to a listed network."""

import socket
from pathlib import Path

import pytest

from tests.fetching import failure, get, path_in, text
from tests.raw_server import http, raw_server
from worker.errors import Transient


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give where the file is to come."""
    return path_in(tmp_path)


def test_a_listed_name_at_a_private_address_is_not_even_connected_to(path: Path) -> None:
    with raw_server(http(body=b"secret")) as heard:
        error = failure(f"http://localhost:{heard.port}/", path, allowed=("localhost",))
    assert (type(error), error.code) == (Transient, "file_host_unlisted")
    assert error.message.startswith("the file's host localhost is at ")
    assert error.message.endswith("and DOWNLOAD_HOSTS lists no network that it is in")
    assert heard.connections == 0


@pytest.mark.parametrize("network", ["127.0.0.1", "127.0.0.0/8", "0.0.0.0/0"])
def test_a_listed_network_lets_the_name_and_the_address_pass(network: str, path: Path) -> None:
    with raw_server(http(body=b"film")) as heard:
        allowed = ("localhost", network, "::1")
        assert get(f"http://localhost:{heard.port}/", path, allowed=allowed).size_bytes == 4
        assert get(heard.url, path, allowed=(network,)).size_bytes == 4


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0"])
def test_an_address_in_a_resolvers_writing_is_a_name_at_that_address(host: str, path: Path) -> None:
    with raw_server(http(body=b"secret")) as heard:
        error = failure(f"http://{host}:{heard.port}/", path, allowed=(host,))
        assert error.code == "file_host_unlisted"
        assert f"host {host} is at " in error.message
        assert heard.connections == 0
        error = failure(f"http://{host}:{heard.port}/", path)
        assert error.message == f"the file is on {host}, which DOWNLOAD_HOSTS does not list"


def test_a_redirect_to_a_listed_name_at_a_private_address_is_refused(path: Path) -> None:
    name = "127.2"  # for a resolver, 127.0.0.2; for us no address but a name (inet_aton(3))
    to = http("302 Found", Location=f"http://{name}/", Content_Length="0")
    with raw_server(to) as heard:
        error = failure(heard.url, path, allowed=("127.0.0.1", name))
    assert error.code == "file_host_unlisted"
    assert "host 127.2 is at 127.0.0.2" in error.message


def test_captions_are_refused_alike() -> None:
    with raw_server(http(body=b"<tt/>")) as heard, pytest.raises(Transient, match="localhost"):
        text(f"http://localhost:{heard.port}/")
    assert heard.connections == 0


def test_a_name_of_several_addresses_is_tried_by_each(path: Path) -> None:
    found = {place[0] for *_, place in socket.getaddrinfo("localhost", 80)}
    with raw_server(http(body=b"film")) as heard:  # on the IPv4 one of them only
        url = f"http://localhost:{heard.port}/"
        assert get(url, path, allowed=("localhost", *map(str, found))).size_bytes == 4


def test_a_proxy_of_the_environment_is_the_administrators_own(
    monkeypatch: pytest.MonkeyPatch, path: Path
) -> None:
    with raw_server(http(body=b"film")) as heard:
        monkeypatch.setenv("http_proxy", heard.url)
        monkeypatch.setenv("no_proxy", "")
        assert get("http://files.uplynk.com/x", path, allowed=("uplynk.com",)).size_bytes == 4
        error = failure("http://127.0.0.1/x", path, allowed=("uplynk.com",))
    assert heard.requests[0].startswith(b"GET http://files.uplynk.com/x ")
    assert error.code == "file_host_unlisted"
    assert len(heard.requests) == 1
