"""The real Redis and PostgreSQL for tests: started on free ports, stopped by pid.

`python -m tests.services COMMAND…` runs a command with TEST_REDIS_URL and TEST_DATABASE_URL set.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.lacking import lacking
from tests.waiting import wait_until

# promtool is a part of Prometheus'
PACKAGES = "redis-server postgresql prometheus chromium"
POSTGRES_FOLDERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


def free_port() -> int:
    """Return a port of the loopback that nobody listens at just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Return whether somebody listens at this port of the loopback."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def found(program: str) -> str:
    """Return the program's path; without it a test skips or fails, as `lacking` says."""
    path = os.pathsep.join([os.environ["PATH"], *map(str, POSTGRES_FOLDERS)])
    if where := shutil.which(program, path=path):
        return where
    raise lacking(f"{program} is missing; on Debian: apt-get install {PACKAGES}")


@contextmanager
def process(arguments: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server for as long as the context lasts; its output is thrown away."""
    server = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield server
    finally:
        end(server)


def end(server: subprocess.Popen[bytes]) -> None:
    """Ask it to end, and end it where it does not hear."""
    server.terminate()
    try:
        server.wait(20)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


@contextmanager
def redis_server(port: int | None = None) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run a Redis that keeps nothing; gives its URL and its process."""
    port = port or free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with process([found("redis-server"), *options]) as server:
        wait_until(lambda: listens(port), what="redis-server")
        yield f"redis://127.0.0.1:{port}/0", server


class Postgres:
    """A PostgreSQL on a new cluster in `folder`, that can be stopped and started again.

    Args:
        folder: is there, and empty.
        settings: more of PostgreSQL's, each as `name=value`.

    Attributes:
        url: of its database `postgres`.
    """

    def __init__(self, folder: str, settings: Sequence[str] = ()) -> None:
        self._port = free_port()
        self._cluster = f"{folder}/cluster"
        self._server: subprocess.Popen[bytes] | None = None
        self.url = f"postgresql://test@127.0.0.1:{self._port}/postgres"
        # PostgreSQL refuses to run as root
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user:
            owner = pwd.getpwnam(self._user)
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        options = ["-p", str(self._port), "-k", folder, "-c", "listen_addresses=127.0.0.1"]
        quick = ["-c", "fsync=off", "-c", "max_connections=200"]
        more = [part for setting in settings for part in ("-c", setting)]
        self._command = [found("postgres"), "-D", self._cluster, *options, *quick, *more]
        making = [found("initdb"), "-D", self._cluster, "-U", "test", "-A", "trust", "-E", "UTF8"]
        if status := self._run(making).wait():
            raise SystemExit(f"initdb ended with status {status}")

    def start(self) -> None:
        """Start it; it answers from then on."""
        self._server = self._run(self._command)
        wait_until(lambda: _answers(self._port), what="postgres")

    def stop(self) -> None:
        """Stop it at once ("fast"): sessions are cut, what was committed stays."""
        if self._server is None:
            return
        self._server.send_signal(signal.SIGINT)  # manual of PostgreSQL, "Shutting Down the Server"
        try:
            self._server.wait(20)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        self._server = None

    def _run(self, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            arguments,
            user=self._user,
            group=self._user,
            extra_groups=[] if self._user else None,
            cwd="/",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


@contextmanager
def restartable_postgres(settings: Sequence[str] = ()) -> Iterator[Postgres]:
    """Run a PostgreSQL that can be restarted, with these settings as well (`name=value`)."""
    with TemporaryDirectory() as folder:
        server = Postgres(folder, settings)
        try:
            server.start()
            yield server
        finally:
            server.stop()


@contextmanager
def postgres_server(settings: Sequence[str] = ()) -> Iterator[str]:
    """Run a PostgreSQL on a new cluster; gives the URL of its database `postgres`."""
    with restartable_postgres(settings) as server:
        yield server.url


def _answers(port: int) -> bool:
    ready = subprocess.run(
        [found("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)], check=False
    )
    return ready.returncode == 0


def main() -> int:
    """Run the command of the command line with both services; returns its exit status."""
    with redis_server() as (redis_url, _), postgres_server() as database_url:
        services = {"TEST_REDIS_URL": redis_url, "TEST_DATABASE_URL": database_url}
        return subprocess.run(sys.argv[1:], env={**os.environ, **services}, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
