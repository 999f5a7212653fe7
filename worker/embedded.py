"""Embedded: all that the worker needs, on this machine only: a broker, a database, the worker."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import IO, Any, Protocol

import redis
from fakeredis import TcpFakeServer

import migrations
from emulator.server import Emulator
from emulator.settings import EmulatorSettings
from worker import parent
from worker.settings import Settings, load

STOP_SECONDS = 10.0
DATABASE = "exports.db"


class _Handler:
    """What the embedded broker does otherwise than fakeredis' server, whose handler comes after."""

    disable_nagle_algorithm = True  # under it each reply would wait for 40 ms
    current_client: Any

    def setup(self) -> None:
        super().setup()  # type: ignore[misc]  # the handler's
        self.current_client = _Outspoken(self.current_client)


class _Outspoken:
    """A connection that goes on after an error that was its answer, as it does in Redis."""

    def __init__(self, client: Any) -> None:  # noqa: ANN401  (fakeredis' own, without a name)
        self._client = client

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  (whatever that one has)
        return getattr(self._client, name)

    def read_response(self) -> object:
        try:
            return self._client.read_response()
        except redis.ResponseError as error:
            return error


@contextmanager
def broker() -> Iterator[str]:
    """Run a broker in this process for as long as the context lasts; gives its URL.

    It is fakeredis' server: it speaks Redis, keeps nothing, and listens on the loopback only.
    """
    server = TcpFakeServer(("127.0.0.1", 0))
    handler: type = server.RequestHandlerClass  # type: ignore[assignment]  # always a class
    server.RequestHandlerClass = type("Handler", (_Handler, handler), {})
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
    """Return whether a Redis answers at `url`."""
    try:
        with redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2) as client:
            return bool(client.ping())
    except (redis.RedisError, ValueError):
        return False


def command(*, queues: str, pool: str, concurrency: int, level: str | None = None) -> list[str]:
    """Return the command line of a worker; its `level` of logs is LOG_LEVEL unless it is given.

    Without mingle and gossip: workers have nothing to tell each other that SQL doesn't know, and
    the embedded broker can't carry it.
    """
    return [
        *(sys.executable, "-m", "celery", "--app", "worker", "worker"),
        *("--queues", queues, "--pool", pool, "--concurrency", str(concurrency)),
        *(("--loglevel", level) if level else ()),
        *("--without-mingle", "--without-gossip"),
    ]


class Process(Protocol):
    """What is needed of a process that was started."""

    @property
    def pid(self) -> int:
        """Its process id."""

    def poll(self) -> int | None:
        """Return its exit status, or None while it lives."""

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit status once it has ended; raises subprocess.TimeoutExpired."""

    def send_signal(self, sig: int) -> None:
        """Send it a signal, unless it has ended."""

    def terminate(self) -> None:
        """Ask it to end."""

    def kill(self) -> None:
        """End it."""


# Starts a command line with exactly this environment in a session of its own; its output goes to
# the file, or where this process's goes.
Launch = Callable[[Sequence[str], Mapping[str, str], IO[bytes] | None], Process]


def launch(
    arguments: Sequence[str], environment: Mapping[str, str], output: IO[bytes] | None
) -> Process:
    """Start a command line as any program is started."""
    return subprocess.Popen(  # noqa: S603  (our own command line)
        arguments,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )


class WorkerProcess:
    """A worker as a process of its own.

    It is in a session of its own, so that Ctrl-C reaches it by way of `stop` only; and it ends by
    itself when this process is gone.

    Args:
        arguments: its command line, as `command` makes it.
        environment: variables in addition to this process's.
        output: where its output goes; None for where this process's goes.
        launch: starts it.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        output: IO[bytes] | None = None,
        launch: Launch = launch,
    ) -> None:
        whole = {**os.environ, **environment, parent.VARIABLE: str(os.getpid())}
        self.process = launch(arguments, whole, output)

    def stop(self, seconds: float = STOP_SECONDS) -> int:
        """Ask it to end, and end it if it hasn't after `seconds`; returns its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):  # a second Ctrl-C
            self.process.kill()
            return self.process.wait()


@contextmanager
def worker(
    environment: Mapping[str, str], *, log: Path, concurrency: int = 4
) -> Iterator[WorkerProcess]:
    """Run a worker for both queues, its output in `log`, for as long as the context lasts."""
    with log.open("ab") as output:
        arguments = command(queues="exports,downloads", pool="threads", concurrency=concurrency)
        process = WorkerProcess(arguments, environment=environment, output=output)
        try:
            yield process
        finally:
            process.stop()


@dataclass(frozen=True, slots=True)
class Installation:
    """Everything that an export needs, running on this machine.

    Attributes:
        settings: what its worker was told.
        worker: the worker's process.
        log: the worker's log.
    """

    settings: Settings
    worker: WorkerProcess
    log: Path


@contextmanager
def installation(
    folder: Path, environment: Mapping[str, str], *, emulator: EmulatorSettings | None = None
) -> Iterator[Installation]:
    """Run a broker, a database and a worker under `folder`, and an emulator if one is described.

    Args:
        folder: where the database, the scratch files and the log are; made if it is missing. What
            an earlier installation left there undone is gone on with.
        environment: variables in addition to this process's.
        emulator: in the place of the real Uplynk; its files come from the loopback.

    Raises:
        SettingsError: the variables are wrong or incomplete.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "worker.log"
    with ExitStack() as stack:
        variables = {
            "DATABASE_URL": f"sqlite:///{folder.resolve()}/{DATABASE}",
            "SCRATCH_DIR": str(folder.resolve() / "scratch"),
            "CELERY_BROKER_URL": stack.enter_context(broker()),
            "LOG_FORMAT": "json",
            **environment,
        }
        if emulator is not None:
            url = stack.enter_context(Emulator(emulator)).url
            variables |= {
                "UPLYNK_USER_ID": emulator.user_id,
                "UPLYNK_API_KEY": emulator.api_key,
                "UPLYNK_API_URL": url,
                "DOWNLOAD_HOSTS": "127.0.0.1",
            }
        settings = load(**{name.lower(): value for name, value in variables.items()})
        migrations.upgrade(settings.database_url)
        process = stack.enter_context(worker(variables, log=log))
        yield Installation(settings, process, log)
