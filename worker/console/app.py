"""App: the page as an ASGI application, and its server."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.resources import files
from typing import Any

import uvicorn
from anyio import CapacityLimiter, to_thread
from sqladmin import Admin
from sqladmin.authentication import login_required
from sqlalchemy import Engine, event, select
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from models.database import for_reading, open_engine, open_sessions
from worker import shown, tables, watching
from worker.clock import Clock
from worker.console import links
from worker.console.desk import Desk
from worker.console.guard import Guard
from worker.console.login import Login
from worker.console.views import Exports, Notifications, Requests, desk_of
from worker.logs import get_logger
from worker.settings import ConsoleSettings

TITLE = "uplynk-export"
STOP_SECONDS = 5
# Of sqladmin's own routes; the others make, change and delete rows, or read files, and its logout
# is a GET, which a link of another site could ask for.
ROUTES = {"statics", "index", "list", "details", "login"}

_FOLDER = str(files("worker.console"))

_log = get_logger(__name__)


class Console(Admin):
    """sqladmin's application with our front page, and without the routes that nobody needs."""

    def __init__(self, app: Starlette, desk: Desk) -> None:
        super().__init__(
            app,
            session_maker=desk.sessions,
            base_url="",
            title=TITLE,
            templates_dir=f"{_FOLDER}/templates",
            authentication_backend=Login(desk.settings),
        )
        routes = self.admin.router.routes
        routes[:] = [route for route in routes if getattr(route, "name", None) in ROUTES]
        routes.append(Route("/logout", self.logout, methods=["POST"], name="logout"))
        routes.append(Mount("/static", StaticFiles(directory=f"{_FOLDER}/static"), name="static"))
        self.admin.state.desk = desk
        self.admin.exception_handlers[SQLAlchemyError] = self.without_database
        self.templates.env.filters.update(
            address=shown.address,
            ago=links.ago,
            clock=links.clock,
            colour=links.colour,
            marked=links.marked,
            percent=links.percent,
            pretty=links.pretty,
            progress=tables.progress,
            says=links.says,
            size=links.size,
            span=links.span,
            whose=watching.whose,
            file_link=partial(links.file_link, desk.settings),
        )
        self.templates.env.globals["to"] = links.to
        for view in (Exports, Requests, Notifications):
            self.add_view(view)

    @login_required
    async def index(self, request: Request) -> Response:
        """Show what goes on now, as `uplynk-export watch` does."""
        desk = desk_of(request)

        def look() -> dict[str, Any]:
            now = desk.now()
            with desk.sessions.begin() as session:
                found = watching.look(session, desk.settings.uplynk_user_id, now=now)
            return {"look": found, "now": now}

        context = await to_thread.run_sync(look)
        return await self.templates.TemplateResponse(request, "sqladmin/now.html", context)

    async def without_database(self, request: Request, error: Exception) -> Response:
        """Say that the database did not answer, and leave what it said to the log."""
        _log.error("database refused", code=type(error).__name__)
        context = {
            "status_code": 503,
            "message": "The database did not answer. `uplynk-export doctor` tells why.",
        }
        name = "sqladmin/error.html"
        return await self.templates.TemplateResponse(request, name, context, status_code=503)


def application(desk: Desk) -> ASGIApp:
    """Return the page; whether it and its database are well, /health tells without a login.

    However many ask for that, one at a time looks, and none takes a thread that visitors need.
    """
    one_at_a_time = CapacityLimiter(1)

    def look() -> None:
        with desk.sessions.begin() as session:
            session.execute(select(1))

    async def health(_request: Request) -> Response:
        try:
            await to_thread.run_sync(look, limiter=one_at_a_time)
        except SQLAlchemyError:
            return PlainTextResponse("the database does not answer", 503)
        return PlainTextResponse("ok")

    app = Starlette(routes=[Route("/health", health)])
    Console(app, desk)
    return Guard(app)  # around all, also what is answered where the page itself fails


@contextmanager
def opened(settings: ConsoleSettings, wake: Callable[[], None]) -> Iterator[ASGIApp]:
    """Give the page on the settings' database, for as long as the context lasts.

    Args:
        settings: with those who may log in.
        wake: has a worker look for what is due now.
    """
    engine = open_engine(settings.database_url)
    try:
        yield application(Desk(settings, open_sessions(only_reading(engine)), Clock(engine), wake))
    finally:
        engine.dispose()


def only_reading(engine: Engine) -> Engine:
    """Return the engine as one that can change no row, whatever the page is made to do with it."""
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _forbid_writing)
    return for_reading(engine).execution_options(postgresql_readonly=True)


def _forbid_writing(connection: Any, _record: object) -> None:  # noqa: ANN401  (a DBAPI connection)
    connection.execute("PRAGMA query_only = ON").close()


def server(app: ASGIApp, *, host: str, port: int) -> uvicorn.Server:
    """Return a server of the page; a proxy on this machine is believed who its visitors are."""
    options: dict[str, Any] = {"log_config": None, "access_log": False, "server_header": False}
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            ws="none",
            lifespan="off",
            timeout_graceful_shutdown=STOP_SECONDS,
            **options,
        )
    )
