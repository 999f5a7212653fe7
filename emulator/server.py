"""The emulator as a server: in the foreground, or in a thread of a test's own."""

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from email.utils import formatdate
from types import TracebackType
from typing import Self

import click
from aiohttp import web
from aiohttp.typedefs import Handler

from emulator import control_routes, gateway, slices, wire
from emulator.control import Control
from emulator.media import AbandonedError
from emulator.settings import EmulatorSettings
from emulator.world import WORLD, World

START_SECONDS = 20.0
STOP_SECONDS = 20.0
HANDLER_SECONDS = 2.0
"""How long a request may take to notice that the emulator closes, before it is cut off."""
MAX_BODY_BYTES = 4 * 1024 * 1024


def build_app(settings: EmulatorSettings) -> web.Application:
    """Return the application, for whoever runs aiohttp themselves."""
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_drop_abandoned])
    app[WORLD] = World(settings)
    app.add_routes([*gateway.routes(), *slices.routes(), *control_routes.routes()])
    app.on_response_prepare.append(_set_date)
    app.on_startup.append(_open)
    app.on_shutdown.append(_stop_waiting)
    app.on_cleanup.append(_close)
    return app


class Emulator:
    """A running emulator: starts on entering, and is gone on leaving.

    Args:
        settings: What it is like; the defaults do for most tests.
    """

    def __init__(self, settings: EmulatorSettings | None = None) -> None:
        self.settings = settings or EmulatorSettings()
        self._thread: threading.Thread | None = None
        self._started: Future[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self._app: web.Application | None = None
        self._url = ""

    @property
    def url(self) -> str:
        """Where it is reached, without a slash at the end."""
        return self._url

    @property
    def control(self) -> Control:
        """A client of its control endpoints."""
        return Control(self._url)

    def advance(self, seconds: float) -> None:
        """Put emulator time forward, as `control.advance` does, but without a request.

        Raises:
            ValueError: that is no number of 0 or more.
            RuntimeError: the emulator does not run.
        """
        if self._app is None:
            raise RuntimeError("the emulator does not run")
        self._app[WORLD].clock.advance(seconds)

    def __enter__(self) -> Self:
        self._started = Future()
        self._thread = threading.Thread(target=self._run, name="emulator", daemon=True)
        self._thread.start()
        self._url = self._started.result(START_SECONDS)[0]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _, loop, stop = self._started.result()
        self._app = None
        loop.call_soon_threadsafe(stop.set)
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)
            if self._thread.is_alive():
                raise RuntimeError(f"the emulator did not stop within {STOP_SECONDS:.0f} s")

    def _run(self) -> None:
        try:
            self._app = build_app(self.settings)
            asyncio.run(_serve(self._app, self.settings, self._ready))
        except BaseException as error:
            if self._started.done():
                raise
            self._started.set_exception(error)

    async def _ready(self, url: str) -> None:
        stop = asyncio.Event()
        self._started.set_result((url, asyncio.get_running_loop(), stop))
        await stop.wait()


def serve(settings: EmulatorSettings) -> None:
    """Serve in the foreground until SIGINT or SIGTERM; one line tells the URL when ready."""
    asyncio.run(_serve(build_app(settings), settings, _until_signal))


async def _until_signal(url: str) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    click.echo(f"Cloud Slicer emulator at {url}")
    await stop.wait()


async def _serve(
    app: web.Application, settings: EmulatorSettings, until: Callable[[str], Awaitable[None]]
) -> None:
    """Serve for as long as `until` waits, which is called with the URL once requests are taken."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=HANDLER_SECONDS)
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.host, settings.port)
        await site.start()
        port = runner.addresses[0][1]
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        await until(f"http://{host}:{port}")
    finally:
        await runner.cleanup()


async def _open(app: web.Application) -> None:
    app[WORLD].library.open()


async def _stop_waiting(app: web.Application) -> None:
    app[WORLD].closing.set()
    app[WORLD].library.stop()


@web.middleware
async def _drop_abandoned(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Reset a request whose file will not be made any more, or whose client left in the middle."""
    try:
        return await handler(request)
    except (AbandonedError, ConnectionError):
        return wire.reset(request)


async def _close(app: web.Application) -> None:
    await app[WORLD].library.close()


async def _set_date(request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Date"] = formatdate(request.app[WORLD].real_now(), usegmt=True)
