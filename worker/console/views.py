"""Views: the lists of the page, the page of each row, and what is done there."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar
from urllib.parse import urlencode

from anyio import to_thread
from sqladmin import ModelView, expose
from sqladmin.authentication import get_current_user_id
from sqladmin.flash import Flash
from sqlalchemy import Select
from sqlalchemy.orm import Session
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import RedirectResponse, Response

from models import Export, Notification, Request, State
from models.state import UNDER_WAY
from worker.console import finding, story
from worker.console.desk import Desk, Outcome
from worker.console.finding import Asked
from worker.console.links import to
from worker.console.login import check_token
from worker.notices import Stand
from worker.remedies import REMEDIES

_T = TypeVar("_T")

# A list that can be chosen: its word in the URL, and what it is called.
Tab = tuple[str, str]
# What lists of one kind can be narrowed to: the field in the URL, and what it is called.
Field = tuple[str, str]

LONGEST_TERM = 255
_UNDER_WAY: tuple[Tab, ...] = tuple(
    (str(state), str(state).capitalize()) for state in State if state in UNDER_WAY
)
_ENDED: tuple[Tab, ...] = tuple(
    (str(state), str(state).capitalize()) for state in (State.FAILED, State.CANCELLED, State.STORED)
)


def desk_of(request: HttpRequest) -> Desk:
    """Return what the page is made of."""
    desk: Desk = request.app.state.desk
    return desk


def asked(request: HttpRequest) -> Asked:
    """Return what the URL asks for."""
    given = {
        name: request.query_params.get(name, "").strip()[:LONGEST_TERM].replace("\x00", "")
        for name in ("term", "which", "code", "requester", "batch")
    }
    return Asked(account=_account(request), **given)


class Listed(ModelView):
    """A list of rows that are only read: nothing is made, edited, deleted or imported here.

    What is shown stands in the templates, field by field. The queries of the lists are those of
    `finding`; they are in the order of an index, and in no other.
    """

    can_create = can_edit = can_delete = can_export = can_import = False
    page_size = 25
    page_size_options: ClassVar[Sequence[int]] = [25, 50, 100]

    tabs: ClassVar[tuple[Tab, ...]] = ()
    fields: ClassVar[tuple[Field, ...]] = ()
    finds: ClassVar[str] = ""
    hint: ClassVar[str] = "Search by an id, a batch or an error code"

    def list_query(self, request: HttpRequest) -> Select[Any]:
        """Return the rows that the URL asks for."""
        raise NotImplementedError

    def sort_query(self, stmt: Select[Any], request: HttpRequest) -> Select[Any]:  # noqa: ARG002
        """Return the rows in their own order."""
        return stmt

    def search_query(self, stmt: Select[Any], term: str) -> Select[Any]:  # noqa: ARG002
        """Return the rows as they are: what is searched for is in the list's own query."""
        return stmt

    async def count(self, request: HttpRequest, stmt: Select[Any] | None = None) -> int:  # noqa: ARG002
        """Return how many rows there are, as far as they are counted."""
        rows = self.list_query(request)
        number = await super().count(request, finding.counted(rows, self.pk_columns[0]))
        return int(number)

    async def list_context(self, request: HttpRequest) -> dict[str, Any]:
        """Return what the page of a list shows besides its rows."""
        return {
            "asked": asked(request),
            "codes": REMEDIES,
            "most": finding.MOST_COUNTED,
            "most_retried": desk_of(request).most,
            **await _moment(request),
        }

    @staticmethod
    def query_of(asked: Asked, which: str) -> str:
        """Return the query of a URL of another list, narrowed as this one; without the term."""
        names = ("code", "requester", "batch")
        given = {name: text for name in names if (text := getattr(asked, name))}
        return urlencode(given | ({"which": which} if which else {}))

    async def details_context(self, request: HttpRequest) -> dict[str, Any]:
        """Return what the page of a row shows besides it."""
        return await _moment(request)

    async def get_object_for_details(self, request: HttpRequest) -> Any:  # noqa: ANN401  (a row)
        """Return the row of the URL."""
        account = _account(request)
        found = await _read(request, lambda session: self.found(session, account, _pk(request)))
        if found is None:
            raise HTTPException(404, f"There is no such {self.name.lower()}.")
        return found

    def found(self, session: Session, account: str, pk: str) -> Any:  # noqa: ANN401  (a row)
        """Return the account's row of this id, or None."""
        raise NotImplementedError


class Exports(Listed, model=Export):
    """The exports of the account."""

    name = "Export"
    icon = "fa-solid fa-film"
    name_plural = "Exports"
    list_template = "sqladmin/exports.html"
    details_template = "sqladmin/export.html"
    tabs = ((finding.ALL_UNDER_WAY, "All under way"), *_UNDER_WAY, *_ENDED)
    fields = (("requester", "Requester"), ("code", "Error code"))
    finds = "an export's, asset's, job's or request's id, a batch, an error code"

    def list_query(self, request: HttpRequest) -> Select[Any]:
        """Return the exports that the URL asks for."""
        return finding.exports(asked(request))

    def found(self, session: Session, account: str, pk: str) -> Export | None:
        """Return the account's export of this id, or None."""
        return finding.export(session, account, pk)

    async def details_context(self, request: HttpRequest) -> dict[str, Any]:
        """Return the export's story."""
        moment, account = await _moment(request), _account(request)

        def told(session: Session) -> story.Story | None:
            export = self.found(session, account, _pk(request))
            return story.of_export(session, export, now=moment["now"]) if export else None

        return {"story": await _read(request, told), **moment}

    @expose("/retry", methods=["POST"])
    async def retry(self, request: HttpRequest) -> Response:
        """Take an export up again."""
        return await self._changed(request, story.to_retry, Desk.retry)

    @expose("/cancel", methods=["POST"])
    async def cancel(self, request: HttpRequest) -> Response:
        """Withdraw all requests of an export."""
        return await self._changed(request, story.to_cancel, Desk.cancel)

    @expose("/retry-failed", methods=["POST"])
    async def retry_failed(self, request: HttpRequest) -> Response:
        """Take up again what failed with a code, so much as is done while a browser waits."""
        form = await request.form()
        check_token(request, form)
        code = str(form.get("id", ""))
        if code not in REMEDIES:
            raise HTTPException(404, "There is no such code.")
        await _done(request, Desk.retry_failed, code)
        return _back(request, f"/export/list?{urlencode({'which': 'failed', 'code': code})}")

    async def _changed(
        self,
        request: HttpRequest,
        chosen: Callable[[Session, Export], list[str]],
        change: Callable[..., Outcome],
    ) -> Response:
        form = await request.form()
        check_token(request, form)
        pk, account = str(form.get("id", "")), _account(request)

        def ids(session: Session) -> list[str] | None:
            export = self.found(session, account, pk)
            return chosen(session, export) if export else None

        if (names := await _read(request, ids)) is None:
            raise HTTPException(404, "There is no such export.")
        outcome = await _done(request, change, names)
        goes_on = str(outcome.export_id or pk)
        if goes_on != pk:
            Flash.info(request, "This export has taken its place.")
        return _back(request, to("export", goes_on))


class Requests(Listed, model=Request):
    """The requests of the account."""

    name = "Request"
    icon = "fa-solid fa-inbox"
    name_plural = "Requests"
    list_template = "sqladmin/requests.html"
    details_template = "sqladmin/request.html"
    tabs = (("", "All"), *_UNDER_WAY, *_ENDED)
    fields = (("batch", "Batch"), ("requester", "Requester"), ("code", "Error code"))
    finds = "a request's, export's, asset's or job's id, a batch, an error code"

    def list_query(self, request: HttpRequest) -> Select[Any]:
        """Return the requests that the URL asks for."""
        return finding.requests(asked(request))

    def found(self, session: Session, account: str, pk: str) -> Request | None:
        """Return the account's request of this id, or None."""
        return finding.request(session, account, pk)

    async def details_context(self, request: HttpRequest) -> dict[str, Any]:
        """Return what the CMS is told of the request, and its export's story."""
        moment, account = await _moment(request), _account(request)

        def told(session: Session) -> dict[str, Any]:
            if (row := self.found(session, account, _pk(request))) is None:
                return {}
            export = row.export
            return {
                "notifications": story.notifications(session, row),
                "remedy": REMEDIES.get(row.error[0]) if row.error else None,
                "story": story.of_export(session, export, now=moment["now"]) if export else None,
            }

        return {**await _read(request, told), **moment}

    @expose("/retry", methods=["POST"])
    async def retry(self, request: HttpRequest) -> Response:
        """Take a request up again."""
        return await self._changed(request, Desk.retry)

    @expose("/cancel", methods=["POST"])
    async def cancel(self, request: HttpRequest) -> Response:
        """Withdraw a request."""
        return await self._changed(request, Desk.cancel)

    async def _changed(self, request: HttpRequest, change: Callable[..., Outcome]) -> Response:
        form = await request.form()
        check_token(request, form)
        request_id, account = str(form.get("id", "")), _account(request)
        if await _read(request, lambda session: self.found(session, account, request_id)) is None:
            raise HTTPException(404, "There is no such request.")
        await _done(request, change, [request_id])
        return _back(request, to("request", request_id))


class Notifications(Listed, model=Notification):
    """What the CMS is told."""

    name = "Notification"
    icon = "fa-solid fa-bell"
    name_plural = "Notifications"
    list_template = "sqladmin/notifications.html"
    details_template = "sqladmin/notification.html"
    tabs = (("", "All"), *((str(stand), str(stand).capitalize()) for stand in Stand))
    finds = "a notification's, request's or export's id"
    hint = "Search by an id"

    def list_query(self, request: HttpRequest) -> Select[Any]:
        """Return the notifications that the URL asks for."""
        return finding.notifications(asked(request))

    def found(self, session: Session, account: str, pk: str) -> Notification | None:
        """Return the account's notification of this id, or None."""
        return finding.notification(session, account, pk)

    @expose("/replay", methods=["POST"])
    async def replay(self, request: HttpRequest) -> Response:
        """Have a notification delivered again."""
        form = await request.form()
        check_token(request, form)
        pk, account = str(form.get("id", "")), _account(request)
        if await _read(request, lambda session: self.found(session, account, pk)) is None:
            raise HTTPException(404, "There is no such notification.")
        await _done(request, Desk.replay, pk)
        return _back(request, to("notification", pk))


def _account(request: HttpRequest) -> str:
    return desk_of(request).settings.uplynk_user_id


def _pk(request: HttpRequest) -> str:
    return str(request.path_params["pk"]).replace("\x00", "")


async def _moment(request: HttpRequest) -> dict[str, Any]:
    """Return the time; the database may be asked for it, and keeps no other visitor waiting."""
    return {"now": await to_thread.run_sync(desk_of(request).now)}


async def _read(request: HttpRequest, what: Callable[[Session], _T]) -> _T:
    """Return what is read in a session of its own, which keeps no other visitor waiting."""

    def read() -> _T:
        with desk_of(request).sessions.begin() as session:
            return what(session)

    return await to_thread.run_sync(read)


async def _done(
    request: HttpRequest, change: Callable[..., Outcome], what: Sequence[str]
) -> Outcome:
    """Have a change made, and say on the next page what came of it."""
    desk, user = desk_of(request), str(get_current_user_id(request))
    outcome = await to_thread.run_sync(lambda: change(desk, what, user=user))
    (Flash.success if outcome.well else Flash.error)(request, outcome.says)
    return outcome


def _back(request: HttpRequest, path: str) -> Response:
    return RedirectResponse(path, 303, background=BackgroundTask(desk_of(request).wake))
