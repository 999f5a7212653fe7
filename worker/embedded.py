"""Embedded: all that the worker needs, on this machine only: a broker, a database, the worker."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Thread
from typing import IO
from urllib.parse import urlsplit

from fakeredis import TcpFakeServer

STOP_SECONDS = 10.0


@contextmanager
def broker() -> Iterator[str]:
    """Run a broker in this process for as long as the context lasts; gives its URL.

    It is fakeredis' server: it speaks Redis, keeps nothing, and listens on the loopback only.
    """
    server = TcpFakeServer(("127.0.0.1", 0))
    # without Nagle's algorithm, under which each reply would wait for 40 ms
    handler: type = server.RequestHandlerClass  # type: ignore[assignment]  # always a class
    server.RequestHandlerClass = type("Handler", (handler,), {"disable_nagle_algorithm": True})
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, name="embedded-broker", daemon=True)
    thread.start()
    try:
        yield f"redis://127.0.0.1:{server.server_address[1]}/0"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def answers(url: str) -> bool:
    """Return whether somebody listens at the host and port of `url`."""
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 6379), timeout=2):
            return True
    except OSError:
        return False


def command(*, queues: str, pool: str, concurrency: int, level: str = "INFO") -> list[str]:
    """Return the command line of a worker.

    Without mingle and gossip: workers have nothing to tell each other that SQL doesn't know, and
    the embedded broker can't carry it.
    """
    return [
        *(sys.executable, "-m", "celery", "--app", "worker", "worker"),
        *("--queues", queues, "--pool", pool, "--concurrency", str(concurrency)),
        *("--loglevel", level, "--without-mingle", "--without-gossip"),
    ]


class WorkerProcess:
    """A worker as a process of its own, in a process group of its own.

    Args:
        arguments: its command line, as `command` makes it.
        environment: variables in addition to this process's.
        output: where its output goes; None for where this process's goes.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        output: IO[bytes] | None = None,
    ) -> None:
        self.process = subprocess.Popen(  # noqa: S603  (our own command line)
            arguments,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )

    def stop(self, seconds: float = STOP_SECONDS) -> int:
        """Ask it to end, and end it if it hasn't after `seconds`; returns its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
