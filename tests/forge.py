"""Forge: processes of ours that begin with their imports done.

Most of a worker's start is imports, and the tests start hundreds. So one process imports them once,
and each worker is a fork of it, that runs the same command line (`python -m MODULE …`) in a session
of its own, with an environment, an output and, where it is asked for, a coverage of its own.
"""

import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from threading import Lock, Thread
from typing import IO

from worker import parent

# All that a worker and a command line import, except what reads the settings as it is imported.
IMPORTS = (
    *("celery.bin.celery", "celery.apps.worker", "celery.backends.redis", "celery.events.state"),
    *("celery.concurrency.prefork", "celery.concurrency.solo", "celery.concurrency.thread"),
    *("celery.worker.consumer.consumer", "celery.worker.pidbox", "celery.worker.strategy"),
    *("flower.command", "kombu.transport.redis", "psycopg", "alembic.command", "rich.table"),
    *("sqlalchemy.dialects.postgresql.psycopg", "sqlalchemy.dialects.sqlite.pysqlite"),
    *("worker.alarm", "worker.outfit", "worker.rendezvous", "worker.slots", "worker.steps"),
    *("worker.transport", "worker.doctor", "worker.changes", "worker.supervisor", "migrations"),
    *("worker.cli.change", "worker.cli.client", "worker.cli.operate", "worker.cli.request"),
    *("worker.cli.batch", "worker.cli.look", "worker.cli.plan", "worker.cli.window"),
    *("worker.cli.notifications", "worker.cli.metrics", "worker.metrics.own", "worker.cli.page"),
    *("worker.transfer.verify", "worker.cli"),
)


class Forged:
    """A process that the forge made, as subprocess.Popen shows one.

    Attributes:
        pid: its process id.
        returncode: its exit status, negative for a signal's number; None while it lives.
    """

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._replies = line.makefile("rb")
        self.pid = int(self._replies.readline())
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return its exit status, or None while it lives."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit status once it has ended.

        Raises:
            subprocess.TimeoutExpired: it lives still after so many seconds.
        """
        if self.returncode is None:
            self._line.settimeout(timeout)
            try:
                said = self._line.recv(16)
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0) from None
            assert said, f"nobody knows how {self.pid} ended"
            self.returncode = int(said)
            self._replies.close()
            self._line.close()
        return self.returncode

    def send_signal(self, sig: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


class Forge:
    """Makes processes for as long as the context lasts."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._lock = Lock()

    def launch(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        output: IO[bytes] | None,
        errors: IO[bytes] | None = None,
    ) -> Forged:
        """Start `python -m MODULE …`; `errors` go where the output goes, unless they are given."""
        python, *how = command
        assert (python, how[0]) == (sys.executable, "-m"), command
        order = {"command": how[1:], "environment": dict(environment), "folder": str(Path.cwd())}
        line, its_line = socket.socketpair()
        with its_line, Path(os.devnull).open("rb") as nothing:
            to = output.fileno() if output else 1
            files = [nothing.fileno(), to, errors.fileno() if errors else to if output else 2]
            with self._lock:
                said = json.dumps(order).encode()
                socket.send_fds(self._link, [len(said).to_bytes(4)], [its_line.fileno(), *files])
                self._link.sendall(said)
        return Forged(line)

    def run(
        self, command: Sequence[str], environment: Mapping[str, str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Run `python -m MODULE …` to its end, as subprocess.run does."""
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            process = self.launch(command, environment, output, errors)
            try:
                status = process.wait(timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise
            output.seek(0)
            errors.seek(0)
            said, complained = output.read().decode(), errors.read().decode()
        return subprocess.CompletedProcess(command, status, said, complained)


@contextmanager
def forge() -> Iterator[Forge]:
    """Run a forge; it ends with this process, and what it made ends with it."""
    link, its_link = socket.socketpair()
    untraced = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}
    with its_link:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.forge", str(its_link.fileno())],
            pass_fds=[its_link.fileno()],
            env=untraced,
            start_new_session=True,
        )
    with process, link:
        yield Forge(link)
        link.close()


def main(link: socket.socket) -> None:
    """Fork a process for each order that comes; returns in each fork that has run to its end."""
    for name in IMPORTS:
        import_module(name)
    gc.freeze()  # Celery collects before each fork of its own
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the keepers
    while True:
        size, files, _, _ = socket.recv_fds(link, 4, 4)
        if not size:
            return
        order = json.loads(link.recv(int.from_bytes(size), socket.MSG_WAITALL))
        if os.fork() == 0:
            break
        for each in files:
            os.close(each)
    link.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    number, *standard = files
    line = socket.socket(fileno=number)
    if worker := os.fork():
        _keep(worker, line)
    os.setsid()
    line.sendall(b"%d\n" % os.getpid())
    line.close()
    for number, each in enumerate(standard):
        os.dup2(each, number)
    for each in standard:
        os.close(each)
    _become(order["command"], order["environment"], order["folder"])


def _keep(worker: int, line: socket.socket) -> None:
    """Tell whoever ordered the process of its end; be gone when that one is gone."""

    def watch() -> None:
        line.recv(1)  # nothing is ever said: it returns when the other side is closed
        os._exit(0)

    Thread(target=watch, daemon=True).start()
    _, status = os.waitpid(worker, 0)
    line.sendall(b"%d" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def _become(command: Sequence[str], environment: Mapping[str, str], folder: str) -> None:
    os.environ.clear()
    os.environ.update(environment)
    if parent.VARIABLE in environment:
        os.environ[parent.VARIABLE] = str(os.getppid())
    os.chdir(folder)
    if "COVERAGE_PROCESS_CONFIG" in environment:
        import_module("coverage").process_startup()
    module, *arguments = command
    sys.argv = ["", *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
