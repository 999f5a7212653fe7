"""A server below HTTP: it says what a test wants, byte for byte, and keeps what it heard."""

import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Event, Lock, Thread
from typing import cast

RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, of 0 s: closing sends RST (socket(7))


@dataclass(frozen=True)
class Say:
    """An answer: `head` at once; then silence until the test is over, a reset, or the end.

    A deaf server does not even read what it answers. One that drips says a byte at a time, with so
    much silence before each, and begins anew at `from_byte` when it is through. One that goes on
    gives its next answer on the same connection.
    """

    head: bytes = b""
    deaf: bool = False
    hold: bool = False
    reset: bool = False
    drip_seconds: float = 0.0
    from_byte: int = 0
    goes_on: bool = False


@dataclass
class Heard:
    """Where the server is, its connections, and the requests it got, each with its body."""

    port: int
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class _Server(ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    heard: Heard
    answers: list[Say]
    over: Event
    turn: Lock
    tls: ssl.SSLContext | None


class _Handler(BaseRequestHandler):
    def handle(self) -> None:
        server = cast("_Server", self.server)
        with server.turn:
            server.heard.connections += 1
        with suppress(OSError):  # whoever asks may leave at any time
            self._answer(server)

    def _answer(self, server: _Server) -> None:
        connection = cast("socket.socket", self.request)
        if server.tls:
            connection = server.tls.wrap_socket(connection, server_side=True)
        with connection:  # under TLS it is none of the server's, which would close only its own
            while self._say(server, connection):
                pass

    def _say(self, server: _Server, connection: socket.socket) -> bool:
        with server.turn:
            answer = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
        if not answer.deaf:
            if not (request := _read(connection)):
                return False  # nobody asks any more
            server.heard.requests.append(request)
        if answer.drip_seconds:
            _drip(connection, answer, server.over)
        connection.sendall(answer.head)
        if answer.hold:
            server.over.wait(30)
        if answer.reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        return answer.goes_on


def _drip(connection: socket.socket, answer: Say, over: Event) -> None:
    connection.sendall(answer.head[: answer.from_byte])
    for byte in cycle(answer.head[answer.from_byte :]):
        if over.wait(answer.drip_seconds):
            return
        connection.sendall(bytes([byte]))


def _read(connection: socket.socket) -> bytes:
    """Read one request: its head, and as much of a body as the head declares."""
    data = b""
    while (end := data.find(b"\r\n\r\n")) < 0:
        if not (piece := connection.recv(65536)):
            return data
        data += piece
    lengths = [
        int(line.split(b":")[1])
        for line in data[:end].split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    ]
    whole = end + 4 + sum(lengths)
    while len(data) < whole and (piece := connection.recv(65536)):
        data += piece
    return data


def http(status: str = "200 OK", body: bytes = b"", **headers: str) -> Say:
    """Return an HTTP answer; a header's underscores are hyphens. It has no length of its own."""
    lines = [f"HTTP/1.1 {status}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return Say("\r\n".join([*lines, "", ""]).encode("latin-1") + body)


@contextmanager
def raw_server(*answers: Say, tls: ssl.SSLContext | None = None) -> Iterator[Heard]:
    """Answer one connection after the other; the last answer is for all that follow."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.heard = Heard(server.server_address[1])
        server.answers, server.over, server.turn = list(answers), Event(), Lock()
        server.tls = tls
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.heard
        finally:
            server.over.set()
            server.shutdown()
            thread.join()
