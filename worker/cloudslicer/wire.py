"""Wire: one POST goes out and its answer comes in, both bounded in time, the answer in size.

requests bounds the silence between two bytes only: a server that drips one now and then would keep
a call alive past its claim, and one that never stops would fill the memory.
"""

import io
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPResponse
from socket import socket
from ssl import SSLCertVerificationError
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationParseError,
    NewConnectionError,
    SSLError,
)

# No honest reply comes near it: a job takes a kilobyte, and a page of jobs has a hundred.
MOST_BYTES = 32 << 20

PIECE_BYTES = 64 << 10

# What sending may raise; urllib3's own get through requests too.
FAILURES = (requests.RequestException, HTTPError)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back over HTTP.

    Attributes:
        status: the HTTP status.
        headers: the headers, by names in any case.
        body: the body; empty where it was longer than MOST_BYTES, which no reply is.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


def post(
    http: requests.Session, url: str, fields: Mapping[str, str], *, timeout: Timeout
) -> Answer:
    """Send a form and return whatever is answered; redirects are not followed.

    Args:
        http: the session to send it through; how answers are read from `url` is set on it.
        url: where to.
        fields: the form.
        timeout: `connect` for connecting, `read` for the whole answer, `total` for both.

    Raises:
        requests.RequestException, urllib3.exceptions.HTTPError: there is no whole answer;
            `was_never_made` tells whether anything was sent.
    """
    if not isinstance(http.get_adapter(url), _Adapter):
        http.mount(url, _Adapter())
    reply = http.post(
        url,
        data=fields,
        timeout=timeout,  # type: ignore[arg-type]  # requests hands urllib3's own on
        stream=True,
        allow_redirects=False,
        auth=lambda request: request,  # else requests adds what ~/.netrc has for the host
        hooks={"response": _forget_location},
    )
    with closing(reply.raw):  # of a body read to its end this leaves the connection open
        return Answer(reply.status_code, reply.headers, _body(reply))


def was_never_made(error: Exception) -> bool:
    """Return whether the connection failed before a request could be sent over it.

    That is: no address, a name that can't be one, refused, no answer to connecting, or a
    certificate that is not trusted. Any other failure of TLS may come from the middle of an answer.
    """
    if isinstance(error, requests.ConnectTimeout | LocationParseError):
        return True
    reason = getattr(error.args[0], "reason", None) if error.args else None
    if isinstance(reason, NewConnectionError):
        return True
    cause = reason.args[0] if isinstance(reason, SSLError) and reason.args else None
    return isinstance(cause, SSLCertVerificationError)


def _body(reply: requests.Response) -> bytes:
    body = bytearray()
    while piece := reply.raw.read1(PIECE_BYTES, decode_content=True):
        body += piece
        if len(body) > MOST_BYTES:
            return b""
    return bytes(body)


def _forget_location(response: requests.Response, *_: object, **__: object) -> None:
    """Keep requests from reading where a redirect leads: it raises where that is no URL."""
    response.headers.pop("Location", None)


class _Reading(io.RawIOBase):
    """The bytes of an answer, which ends in time or not at all.

    Args:
        sock: the connection; its timeout is how long the whole answer may take from now on.
        raw: its bytes.
    """

    def __init__(self, sock: socket, raw: io.RawIOBase) -> None:
        self._sock, self._raw = sock, raw
        self._whole = sock.gettimeout() or 0.0
        self._end = time.monotonic() + self._whole

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401  (any buffer)
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer took too long")
        self._sock.settimeout(left)
        try:
            return self._raw.readinto(buffer)
        finally:
            self._sock.settimeout(self._whole)  # for whoever sends over this connection next

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(HTTPResponse):
    """http.client's response over such bytes: status line, headers and body."""

    def __init__(self, sock: socket, *args: Any, **options: Any) -> None:  # noqa: ANN401  (its own)
        super().__init__(sock, *args, **options)
        self.fp = io.BufferedReader(_Reading(sock, self.fp.detach()))


class _Timely(HTTPConnection):
    """A connection that sends nothing where connecting took too long.

    urllib3 gives each address of a host, and then TLS, the whole of the time.
    """

    response_class = _Response

    def connect(self) -> None:
        begun = time.monotonic()
        super().connect()
        if isinstance(self.timeout, int | float) and time.monotonic() - begun > self.timeout:
            self.close()
            raise ConnectTimeoutError(self, "connecting took too long")


class _TimelyTls(_Timely, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Timely


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TimelyTls


class _Adapter(HTTPAdapter):
    """requests' adapter with such connections, also where a proxy is between."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  (its own)
        super().init_poolmanager(*args, **options)
        _make_timely(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **options: Any) -> PoolManager:  # noqa: ANN401  (its own)
        return _make_timely(super().proxy_manager_for(*args, **options))


def _make_timely(manager: PoolManager) -> PoolManager:
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
    return manager
