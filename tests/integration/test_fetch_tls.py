"""Fetch: a certificate is checked, whatever the environment says, and no password is sent along."""

import ssl
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from tests.fetching import Told, Watch, failure, get, path_in
from tests.raw_server import Say, http, raw_server
from tests.waiting import wait_until
from worker.errors import Transient


@dataclass
class Authority:
    """A certificate authority and a server's certificate, which nobody trusts by itself."""

    server: ssl.SSLContext
    certificate: Path


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Give a certificate for 127.0.0.1."""
    ca = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1", "localhost").configure_cert(server)
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return Authority(server, tmp_path / "ca.pem")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give where the file is to come."""
    return path_in(tmp_path / "scratch")


def tls(url: str) -> str:
    return url.replace("http:", "https:")


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"CURL_CA_BUNDLE": "", "REQUESTS_CA_BUNDLE": ""},
        {"PYTHONHTTPSVERIFY": "0", "SSL_CERT_FILE": "/dev/null"},
        {"REQUESTS_CA_BUNDLE": "", "GIT_SSL_NO_VERIFY": "1", "NODE_TLS_REJECT_UNAUTHORIZED": "0"},
    ],
)
def test_a_certificate_that_nobody_vouches_for_is_refused(
    variables: dict[str, str],
    authority: Authority,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with raw_server(http(body=b"secret"), tls=authority.server) as heard:
        error = failure(tls(heard.url), path)
    assert (type(error), error.code) == (Transient, "file_unreachable")
    assert heard.requests == []


@pytest.fixture
def trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """Give an authority that the administrator has listed."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.certificate))
    return authority


def test_an_authority_that_the_administrator_lists_is_believed(
    trusted: Authority, path: Path
) -> None:
    with raw_server(http(body=b"film"), tls=trusted.server) as heard:
        assert get(tls(heard.url), path).size_bytes == 4


def test_the_name_is_that_of_the_url_and_not_of_the_address(trusted: Authority, path: Path) -> None:
    listed = ("localhost", "127.0.0.0/8", "::1")
    with raw_server(http(body=b"film"), tls=trusted.server) as heard:
        assert get(f"https://localhost:{heard.port}/", path, allowed=listed).size_bytes == 4
        error = failure(f"https://127.0.0.2:{heard.port}/", path, allowed=listed)
    assert error.code == "file_unreachable"


@pytest.mark.timeout(30)
@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\n\r\nfilm"])
def test_a_silent_server_is_left_under_tls_too(said: bytes, trusted: Authority, path: Path) -> None:
    guard = Watch()
    with (
        raw_server(Say(said, hold=True), tls=trusted.server) as heard,
        ThreadPoolExecutor(1) as pool,
    ):
        running = pool.submit(get, tls(heard.url), path, guard)
        wait_until(lambda: heard.requests)
        guard.stop()
        with pytest.raises(Told):
            running.result()


@pytest.mark.timeout(30)
def test_a_handshake_that_does_not_end_is_left(path: Path) -> None:
    guard = Watch()
    with raw_server(Say(deaf=True, hold=True)) as heard, ThreadPoolExecutor(1) as pool:
        running = pool.submit(get, tls(heard.url), path, guard)
        wait_until(lambda: heard.connections)
        guard.stop()
        with pytest.raises(Told):
            running.result()


def test_no_password_of_netrc_is_sent(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password hunter2\ndefault login d password d\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with raw_server(http("302 Found", Location="/y"), http(body=b"film")) as heard:
        get(f"{heard.url}/x", path)
    assert b"authorization" not in b"".join(heard.requests).lower()
