"""The operator's page: what it shows to whom, what it finds, and what it has done."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from threading import Event
from urllib.parse import quote
from uuid import uuid4

import anyio
import pytest
import requests
from sqlalchemy import event, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker
from starlette.requests import Request as HttpRequest
from structlog.testing import capture_logs

from models import Audio, Channel, Export, History, Notification, Request, State
from models.database import open_sessions
from tests.engines import opened
from tests.factories import an_asset, make_export
from tests.screenshots.newsroom import filled
from tests.served import USER, Served, console_settings, served, serving
from tests.waiting import wait_until
from worker.clock import local
from worker.console import app as pages
from worker.console import guard, story
from worker.console.desk import Desk
from worker.console.login import SESSION_SECONDS, Guesses, Login
from worker.notices import Stand

pytest.importorskip("sqladmin")
Sessions = sessionmaker[Session]

SIGNED = "https://export.uplynk.com/x.mp4?sig=hunter2"
HOSTILE = "<script>alert('hunter')</script>"
PAGES = ("/", "/export/list", "/request/list", "/notification/list")


@pytest.fixture
def page(database_url: str, sessions: Sessions) -> Iterator[Served]:
    """Give the page on the test's own database."""
    assert sessions
    with served(console_settings(database_url)) as page:
        yield page


def asked_for(sessions: Sessions, export: Export, **members: object) -> str:
    """Return the id of a request for the export, now in the database."""
    values = {
        "id": str(uuid4()),
        "export_id": export.id,
        "asset": export.asset,
        "audio": Audio.HE_AAC,
        "created_at": export.created_at,
        **members,
    }
    with sessions.begin() as session:
        session.add(Request(**values))
    return str(values["id"])


def failed(sessions: Sessions, code: str = "storage_unavailable", **members: object) -> Export:
    """Return an export that failed although Uplynk has its file."""
    given = {
        "due_at": None,
        "job_id": uuid4().hex,
        "job_state": "done",
        "url": SIGNED,
        "error_code": code,
        "error_message": "the storage is full",
        **members,
    }
    return make_export(sessions, state=State.FAILED, **given)


def now_of(sessions: Sessions, export: Export) -> Export:
    with sessions.begin() as session:
        return session.get_one(Export, export.id)


def token_of(session: requests.Session, url: str) -> str:
    """Return the token of the page's forms."""
    found = re.search(r'name="token" value="([^"]+)"', session.get(url, timeout=10).text)
    assert found is not None
    return found[1]


def post(session: requests.Session, url: str, **form: object) -> requests.Response:
    return session.post(url, data=form, timeout=10, allow_redirects=False)


def login(page: Served, password: str, to: str = "/login", **form: str) -> requests.Response:
    data = {"username": USER[0], "password": password, **form}
    return requests.post(f"{page.url}{to}", data=data, timeout=10, allow_redirects=False)


def test_who_is_logged_out_sees_nothing(page: Served, sessions: Sessions) -> None:
    export = failed(sessions)
    request_id = asked_for(sessions, export)
    details = (f"/export/details/{export.id}", f"/request/details/{request_id}")
    for path in (*PAGES, *details, f"/export/list?term={export.asset}"):
        answer = requests.get(f"{page.url}{path}", timeout=10, allow_redirects=False)
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/login?next=" if path != "/" else "/login")
        assert export.asset not in answer.text
    for path in ("/export/retry", "/export/cancel", "/export/retry-failed", "/request/retry"):
        answer = post(requests.Session(), f"{page.url}{path}", id=export.id)
        assert (answer.status_code, answer.text) == (303, "")
        assert answer.headers["location"] == "/login"
    assert now_of(sessions, export).state is State.FAILED
    assert requests.get(f"{page.url}/health", timeout=10).text == "ok"


def test_who_logs_in_goes_on_to_where_they_wanted_and_nowhere_else(page: Served) -> None:
    wanted = requests.get(f"{page.url}/export/list?which=failed", timeout=10)
    assert "next=%2Fexport%2Flist%3Fwhich%3Dfailed" in wanted.url
    shown = wanted
    for password in ("wrong", USER[1]):
        found = re.search(r'<form[^>]* action="([^"]+)" method="post"', shown.text)
        assert found is not None
        shown = login(page, password, unescape(found[1]))
    assert (shown.status_code, shown.headers["location"]) == (303, "/export/list?which=failed")
    for elsewhere in ("https://evil.example/", "//evil.example", "/\\evil.example", "x", ""):
        to = f"/login?next={quote(elsewhere, safe='')}"
        assert login(page, USER[1], to).headers["location"] == "/"


def test_a_session_is_a_cookie_that_no_script_and_no_other_site_can_use(page: Served) -> None:
    cookie = login(page, USER[1]).headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "secure" not in cookie
    behind = requests.post(
        f"{page.url}/login",
        data={"username": USER[0], "password": USER[1]},
        headers={"X-Forwarded-Proto": "https", "X-Forwarded-For": "10.0.0.7"},
        timeout=10,
        allow_redirects=False,
    )
    assert "secure" in behind.headers["set-cookie"].lower()
    session, url = page.logged_in(), f"{page.url}/logout"
    assert session.get(url, timeout=10).status_code == 405
    assert post(session, url, token="guess").status_code == 403
    assert post(session, url, token=token_of(session, page.url)).headers["location"] == "/login"
    assert not session.cookies
    assert post(session, url).headers["location"] == "/login"


def test_a_session_ends_twelve_hours_after_the_login_however_much_it_is_used() -> None:
    login = Login(console_settings("sqlite://"), now=lambda: 100_000.0)

    def is_in(**session: object) -> bool:
        scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "session": session}
        return anyio.run(login.authenticate, HttpRequest(scope)) is True

    assert is_in(user_id=USER[0], since=100_000.0 - SESSION_SECONDS + 1)
    assert not is_in(user_id=USER[0], since=100_000.0 - SESSION_SECONDS)
    assert not is_in(user_id=USER[0])
    assert not is_in(user_id="bob", since=100_000.0)


def test_a_forged_session_is_none(page: Served) -> None:
    session = page.logged_in()
    ((name, value),) = session.cookies.get_dict().items()
    session.cookies.clear()
    session.cookies.set(name, f"{value[:-2]}xx")
    assert session.get(f"{page.url}/", timeout=10).url.startswith(f"{page.url}/login")


def test_a_new_password_ends_every_session(database_url: str, sessions: Sessions) -> None:
    assert sessions
    secret = {"console_secret": "s" * 32}
    with served(console_settings(database_url, **secret)) as page:
        session = page.logged_in()
    for users, is_in in ((":".join(USER), True), (f"{USER[0]}:another-long-one", False)):
        with served(console_settings(database_url, console_users=users, **secret)) as page:
            answer = session.get(f"{page.url}/", timeout=10, allow_redirects=False)
            assert (answer.status_code == 200) is is_in


def test_guesses_are_few_a_minute(page: Served) -> None:
    answers = [login(page, f"guess-{number}") for number in range(6)]
    assert [answer.status_code for answer in answers] == [400] * 5 + [429]
    assert "go together" in answers[0].text
    assert "in a minute" in answers[-1].text
    assert login(page, USER[1]).status_code == 429, "or guesses could go on, unseen"


def test_guesses_of_others_lock_nobody_out() -> None:
    guesses = Guesses()
    for number in range(60):
        guesses.note(f"192.0.2.{number}")
    assert not guesses.are_too_many("198.51.100.1")
    assert guesses.are_too_many("192.0.2.1"), "one more, and it would go on from many addresses"
    for number in range(4):
        guesses.note(f"2001:db8::{number}")
    assert not guesses.are_too_many("2001:db8:0:1::1")
    assert guesses.are_too_many("2001:db8::ffff"), "whoever has one address has 2**64"


@pytest.mark.parametrize("name", ["", "nobody", "ann\x00", "ann "])
def test_a_password_opens_for_its_own_name_only(page: Served, name: str) -> None:
    assert login(page, USER[1], username=name).status_code == 400


def test_every_answer_says_what_a_browser_must_not_do(page: Served) -> None:
    session = page.logged_in()
    paths = (*PAGES, "/login", "/nothing", "/statics/css/tabler.min.css", "/static/console.js")
    for path in paths:
        answer = session.get(f"{page.url}{path}", timeout=10)
        assert guard.HEADERS.items() <= answer.headers.items(), path
        is_kept = path.startswith(("/statics/", "/static/"))
        assert answer.headers["cache-control"] == ("max-age=3600" if is_kept else "no-store")
        assert "server" not in answer.headers
    assert "unsafe" not in guard.HEADERS["Content-Security-Policy"]
    assert "style=" not in session.get(f"{page.url}/", timeout=10).text
    long = session.post(f"{page.url}/login", data=b"x" * (guard.MOST_BODY_BYTES + 1), timeout=10)
    assert (long.status_code, long.headers["x-frame-options"]) == (413, "DENY")
    endless = session.post(f"{page.url}/login", data=iter([b"x"]), timeout=10)
    assert endless.status_code == 413


def test_what_sqladmin_makes_and_changes_rows_with_is_not_there(
    page: Served, sessions: Sessions
) -> None:
    export = failed(sessions, storage_url="file:///etc/passwd")
    session = page.logged_in()
    calls = (
        ("GET", "/export/create"),
        ("POST", "/export/create"),
        ("POST", f"/export/edit/{export.id}"),
        ("DELETE", f"/export/delete?pks={export.id}"),
        ("GET", "/export/export/csv"),
        ("POST", "/export/import"),
        ("GET", "/export/ajax/lookup?name=x&term=y"),
        ("GET", f"/export/{export.id}/storage_url/download/"),
        ("GET", f"/export/{export.id}/storage_url/preview/"),
    )
    for method, path in calls:
        answer = session.request(method, f"{page.url}{path}", timeout=10, data=b"")
        assert answer.status_code in {404, 405}, path
    for path in ("/export/retry", "/export/cancel", "/request/retry", "/request/cancel"):
        answer = session.get(f"{page.url}{path}?id={export.id}&pks={export.id}", timeout=10)
        assert answer.status_code == 405, path


def test_every_page_opens_and_none_shows_a_signed_url(page: Served, sessions: Sessions) -> None:
    ids = filled(sessions, {**dict.fromkeys(State, 1), State.STORED: 30})
    with sessions.begin() as session:
        for export in session.scalars(select(Export)):
            export.url = SIGNED
        wanted = [request.id for request in session.scalars(select(Request).limit(3))]
        told = session.scalars(select(Notification)).first()
    assert told is not None
    exports = [f"/export/details/{each[0]}" for each in ids.values()]
    others = [f"/request/details/{each}" for each in wanted]
    lists = [f"/{kind}/list?which={state}" for kind in ("export", "request") for state in State]
    lists += [f"/notification/list?which={stand}" for stand in Stand]
    browser = page.logged_in()
    for path in (*PAGES, *exports, *others, *lists, f"/notification/details/{told.id}"):
        answer = browser.get(f"{page.url}{path}", timeout=10)
        assert answer.status_code == 200, path
        assert "hunter2" not in answer.text, path
        assert USER[1] not in answer.text, path
    for path in ("/export/details/x", f"/export/details/{uuid4()}", "/request/details/x%00y"):
        assert browser.get(f"{page.url}{path}", timeout=10).status_code == 404
    second = browser.get(f"{page.url}/export/list?which=stored&page=2", timeout=10).text
    assert "26 to 30 of 30" in second
    assert browser.get(f"{page.url}/export/list?page=nine", timeout=10).status_code == 400


def test_the_lists_find_by_whole_ids_and_names(page: Served, sessions: Sessions) -> None:
    browser = page.logged_in()

    def found(kind: str, term: object) -> set[str]:
        text = browser.get(f"{page.url}/{kind}/list", params={"term": str(term)}, timeout=10).text
        return set(re.findall(rf'<td><a href="/{kind}/details/([^"]+)"', text))

    both: set[str] = set()
    for state in (State.FAILED, State.STORED, State.EXPORTING):
        members = {} if state is State.EXPORTING else {"due_at": None}
        export = make_export(sessions, state=state, job_id=uuid4().hex, **members)
        request_id = asked_for(sessions, export, batch="a list/1998")
        both.add(str(export.id))
        assert found("export", export.asset.upper()) == {str(export.id)}
        assert found("request", export.asset) == {request_id}
    for term in (export.id, export.job_id, request_id):
        assert found("export", term) == {str(export.id)}
        assert found("request", term) == {request_id}
    assert found("export", "a list/1998") == both
    assert len(found("request", "a list/1998")) == 3
    assert found("export", "scratch_full") == set()
    code = failed(sessions, "scratch_full")
    assert found("export", "scratch_full") == {str(code.id)}
    request_id = asked_for(sessions, code)
    assert found("request", "scratch_full") == {request_id}
    assert found("export", "\x00%") == found("request", export.asset[:-1]) == set()


def test_the_lists_are_narrowed(page: Served, sessions: Sessions) -> None:
    first = failed(sessions, "export_error", requester="sports")
    second = failed(sessions, "scratch_full", requester="newsroom")
    withdrawn = asked_for(sessions, first, cancelled_at=datetime.now(UTC), batch="b")
    kept = asked_for(sessions, first, requester="sports")
    with sessions.begin() as session:
        session.add(
            Request(
                id="refused",
                error_code="invalid_request",
                error_message="x",
                created_at=first.created_at,
            )
        )
    browser = page.logged_in()

    def shown(path: str) -> set[str]:
        kind = path.split("/")[1]
        text = browser.get(f"{page.url}{path}", timeout=10).text
        return set(re.findall(rf'<td><a href="/{kind}/details/([^"]+)"', text))

    both = {str(first.id), str(second.id)}
    assert shown("/export/list") == set()
    assert shown("/export/list?which=failed") == both
    assert shown("/export/list?which=failed&code=export_error") == {str(first.id)}
    assert shown("/export/list?which=failed&requester=newsroom") == {str(second.id)}
    assert shown("/request/list") == {withdrawn, kept, "refused"}
    assert shown("/request/list?which=failed") == {kept, "refused"}
    assert shown("/request/list?which=cancelled") == {withdrawn}
    assert shown("/request/list?batch=b") == {withdrawn}
    assert shown("/request/list?requester=sports") == {kept}
    assert shown("/request/list?code=invalid_request") == {"refused"}


def test_what_is_another_accounts_is_not_seen_and_not_changed(
    page: Served, sessions: Sessions
) -> None:
    ours, theirs = failed(sessions), failed(sessions, account="f" * 32)
    wanted, request_id = asked_for(sessions, ours), asked_for(sessions, theirs, batch="b")
    refused = {"error_code": "invalid_request", "error_message": "x"}
    with sessions.begin() as session:
        session.add(Request(id="refused", created_at=ours.created_at, **refused))
        session.flush()
        told = [
            Notification(
                id=uuid4(),
                request_id=each,
                channel=Channel.TASK,
                type="export.failed",
                payload={},
                created_at=ours.created_at,
                dead_at=ours.created_at,
            )
            for each in (request_id, wanted, "refused")
        ]
        session.add_all(told)
    browser, url = page.logged_in(), page.url
    token = token_of(browser, f"{url}/export/list?which=failed&code={theirs.error_code}")

    def shown(path: str) -> set[str]:
        kind = path.split("/")[1]
        text = browser.get(f"{url}{path}", timeout=10).text
        return set(re.findall(rf'"/{kind}/details/([^"]+)"', text))

    assert shown("/request/list") == shown("/request/list?which=failed") == {wanted, "refused"}
    assert shown("/request/list?term=b") == shown(f"/request/list?term={theirs.asset}") == set()
    assert shown("/notification/list") == {str(each.id) for each in told[1:]}
    for kind, pk in (("export", theirs.id), ("request", request_id), ("notification", told[0].id)):
        assert browser.get(f"{url}/{kind}/details/{pk}", timeout=10).status_code == 404
        for change in ("replay",) if kind == "notification" else ("retry", "cancel"):
            answer = post(browser, f"{url}/{kind}/{change}", id=pk, token=token)
            assert answer.status_code == 404, change
    post(browser, f"{url}/export/retry-failed", id=theirs.error_code, token=token)
    assert now_of(sessions, ours).state is State.DOWNLOADING
    assert now_of(sessions, theirs).state is State.FAILED
    with sessions.begin() as session:
        assert session.get_one(Notification, told[0].id).due_at is None


def test_an_exports_page_tells_its_story_and_what_to_do(page: Served, sessions: Sessions) -> None:
    export = failed(sessions)
    begun = datetime(2026, 3, 1, 12, tzinfo=UTC)
    with sessions.begin() as session:
        for seconds, state in ((0, State.REQUESTED), (90, State.FAILED)):
            at = begun + timedelta(seconds=seconds)
            session.add(History(export_id=export.id, at=at, to_state=state, reason=f"r{seconds}"))
    asked_for(sessions, export, callback_task="cms.done", webhook_url="https://u:p@cms/h?k=hunter2")
    browser = page.logged_in()
    text = browser.get(f"{page.url}/export/details/{export.id}", timeout=10).text
    for said in ("2026-03-01 12:01:30 UTC", "1 min 30 s", "r90", "the storage is full"):
        assert said in text
    assert "mend it; <code>uplynk-export doctor</code>" in text
    assert "is not billed another time" in text
    (request_id,) = re.findall(r'href="/request/details/([^"]+)"', text)
    text = browser.get(f"{page.url}/request/details/{request_id}", timeout=10).text
    assert "cms.done" in text
    assert "<code>https://cms</code>" in text
    assert "hunter2" not in text


def test_a_film_is_linked_where_a_browser_finds_it(database_url: str, sessions: Sessions) -> None:
    inside = make_export(
        sessions, state=State.STORED, due_at=None, storage_url="s3://films/exports/a/b.mp4"
    )
    outside = make_export(sessions, state=State.STORED, due_at=None, storage_url="s3://old/b.mp4")
    links = {"console_files_url": "https://media.example.com/films"}
    with served(console_settings(database_url, **links)) as page:
        browser = page.logged_in()
        texts = [
            browser.get(f"{page.url}/export/details/{export.id}", timeout=10).text
            for export in (inside, outside)
        ]
    assert 'href="https://media.example.com/films/a/b.mp4"' in texts[0]
    assert "s3://old/b.mp4" in texts[1]
    assert "media.example.com" not in texts[1]


def test_nothing_that_came_from_outside_is_markup(page: Served, sessions: Sessions) -> None:
    export = failed(
        sessions,
        HOSTILE[:64],
        asset=an_asset(),
        error_message=HOSTILE,
        requester=HOSTILE,
        job_state=HOSTILE[:64],
        job_progress=HOSTILE,
        storage_url=f"javascript:{HOSTILE}",
    )
    with sessions.begin() as session:
        session.add(
            History(
                export_id=export.id, at=export.created_at, to_state=State.FAILED, reason=HOSTILE
            )
        )
    request_id = asked_for(
        sessions,
        export,
        id=f"{HOSTILE}/../?#",
        requester=HOSTILE,
        batch=HOSTILE,
        metadata_={HOSTILE: HOSTILE},
        callback_task=HOSTILE,
        webhook_url=f"javascript:{HOSTILE}",
    )
    told = Notification(
        id=uuid4(),
        request_id=request_id,
        channel=Channel.TASK,
        type=HOSTILE,
        payload={HOSTILE: HOSTILE},
        created_at=export.created_at,
        due_at=export.created_at,
        last_error=HOSTILE,
    )
    with sessions.begin() as session:
        session.add(told)
    browser = page.logged_in()
    seen = browser.get(f"{page.url}/request/list", timeout=10).text
    (path,) = set(re.findall(r'"(/request/details/[^"]+)"', seen))
    paths = [path, f"/export/details/{export.id}", f"/notification/details/{told.id}"]
    paths += [*PAGES, "/export/list?which=failed", f"/export/list?term={HOSTILE}"]
    for each in paths:
        answer = browser.get(f"{page.url}{each}", timeout=10)
        assert answer.status_code == 200, each
        assert "<script>alert" not in answer.text, each
        assert 'href="javascript:' not in answer.text, each
    assert HOSTILE.replace("<", "&lt;").replace(">", "&gt;").replace("'", "&#39;") in seen


def test_a_form_of_another_site_changes_nothing(page: Served, sessions: Sessions) -> None:
    export = failed(sessions)
    request_id = asked_for(sessions, export)
    session, url = page.logged_in(), page.url
    other = token_of(page.logged_in(), f"{url}/export/details/{export.id}")
    for token in ("", "guess", other):
        for path, pk in (("export", export.id), ("request", request_id)):
            answer = post(session, f"{url}/{path}/retry", id=pk, token=token)
            assert answer.status_code == 403
    assert post(session, f"{url}/export/retry-failed", id=export.error_code).status_code == 403
    assert now_of(sessions, export).state is State.FAILED
    assert page.woken == []


def test_a_failed_export_is_taken_up_again(page: Served, sessions: Sessions) -> None:
    export = failed(sessions)
    asked_for(sessions, export)
    withdrawn = asked_for(sessions, export, cancelled_at=datetime.now(UTC))
    session, url = page.logged_in(), f"{page.url}/export/details/{export.id}"
    answer = post(session, f"{page.url}/export/retry", id=export.id, token=token_of(session, url))
    assert (answer.status_code, answer.headers["location"]) == (
        303,
        f"/export/details/{export.id}",
    )
    assert now_of(sessions, export).state is State.DOWNLOADING
    wait_until(lambda: page.woken, what="a worker that is woken")
    text = session.get(url, timeout=10).text
    assert "Taken up again." in text
    assert "Taken up again." not in session.get(url, timeout=10).text
    with sessions.begin() as opened:
        assert opened.get_one(Request, withdrawn).cancelled_at is not None


def test_where_only_a_new_job_helps_the_page_says_so_and_leads_to_it(
    page: Served, sessions: Sessions
) -> None:
    export = failed(sessions, "export_error", job_state="error", url=None)
    request_id = asked_for(sessions, export)
    session, url = page.logged_in(), f"{page.url}/export/details/{export.id}"
    assert "bills another job" in session.get(url, timeout=10).text
    form = {"id": export.id, "token": token_of(session, url)}
    answer = session.post(f"{page.url}/export/retry", data=form, timeout=10)
    with sessions.begin() as opened:
        taken = opened.get_one(Request, request_id).export
    assert taken is not None
    assert taken.id != export.id
    assert answer.url.endswith(f"/export/details/{taken.id}")
    assert "has taken its place" in answer.text


def test_all_that_failed_with_a_code_is_taken_up_again(page: Served, sessions: Sessions) -> None:
    exports = [failed(sessions), failed(sessions), failed(sessions, "scratch_full")]
    for export in exports:
        asked_for(sessions, export)
    session = page.logged_in()
    url = f"{page.url}/export/list?which=failed&code=storage_unavailable"
    form = {"id": "storage_unavailable", "token": token_of(session, url)}
    answer = session.post(f"{page.url}/export/retry-failed", data=form, timeout=10)
    assert "2 taken up again." in answer.text
    states = [now_of(sessions, export).state for export in exports]
    assert states == [State.DOWNLOADING, State.DOWNLOADING, State.FAILED]
    form["id"] = "no_such_code"
    assert session.post(f"{page.url}/export/retry-failed", data=form, timeout=10).status_code == 404


def test_of_very_many_that_failed_some_are_taken_up_while_a_browser_waits(
    database_url: str, sessions: Sessions
) -> None:
    exports = [failed(sessions) for _ in range(3)]
    for export in exports:
        asked_for(sessions, export)
    desk = Desk(console_settings(database_url), sessions, local, lambda: None, most=2)
    said = [desk.retry_failed("storage_unavailable", user="ann").says for _ in range(2)]
    assert said == [
        "2 taken up again. There are more: retry them as well.",
        "1 taken up again.",
    ]
    assert {now_of(sessions, export).state for export in exports} == {State.DOWNLOADING}


def test_an_export_is_withdrawn_from_all_who_want_it(page: Served, sessions: Sessions) -> None:
    export = make_export(sessions, state=State.REQUESTED)
    for _ in range(2):
        asked_for(sessions, export)
    session, url = page.logged_in(), f"{page.url}/export/details/{export.id}"
    form = {"id": export.id, "token": token_of(session, url)}
    answer = session.post(f"{page.url}/export/cancel", data=form, timeout=10)
    assert "Withdrawn: 2 requests." in answer.text
    assert now_of(sessions, export).state is State.CANCELLED


def test_however_many_want_an_export_all_of_them_are_meant(sessions: Sessions) -> None:
    export = make_export(sessions, state=State.REQUESTED)
    with sessions.begin() as session:
        ids = {f"{number}" for number in range(501)}
        at = export.created_at
        session.add_all(Request(id=each, export_id=export.id, created_at=at) for each in ids)
        session.flush()
        assert set(story.to_cancel(session, export)) == set(story.to_retry(session, export)) == ids


def test_a_request_is_withdrawn_and_taken_up_again_by_itself(
    page: Served, sessions: Sessions
) -> None:
    export = make_export(sessions, state=State.REQUESTED)
    ours, others = asked_for(sessions, export, id="ours/1?x#y"), asked_for(sessions, export)
    session, url = page.logged_in(), f"{page.url}/request/details/ours%2F1%3Fx%23y"
    form = {"id": ours, "token": token_of(session, url)}
    answer = session.post(f"{page.url}/request/cancel", data=form, timeout=10)
    assert (answer.url, answer.status_code) == (url, 200)
    assert now_of(sessions, export).state is State.REQUESTED
    answer = session.post(f"{page.url}/request/retry", data=form, timeout=10)
    with sessions.begin() as opened:
        assert opened.get_one(Request, ours).cancelled_at is None
        assert opened.get_one(Request, others).cancelled_at is None
    late = failed(sessions)
    form["id"] = asked_for(sessions, late)
    answer = session.post(f"{page.url}/request/cancel", data=form, timeout=10)
    assert "too late to cancel it" in answer.text
    form["id"] = "nobody's"
    assert session.post(f"{page.url}/request/cancel", data=form, timeout=10).status_code == 404


def test_the_pages_own_connections_can_only_read(database_url: str, sessions: Sessions) -> None:
    export = failed(sessions)
    with opened(database_url) as engine, Session(pages.only_reading(engine)) as session:
        session.get_one(Export, export.id).asset = an_asset()
        with pytest.raises(DBAPIError, match=r"read-?only"):
            session.flush()


def test_a_database_that_does_not_answer_is_told_without_what_it_said(tmp_path: object) -> None:
    with served(console_settings(f"sqlite:///{tmp_path}/empty.db")) as page:
        answer = page.logged_in().get(f"{page.url}/export/list", timeout=10)
        assert answer.status_code == 503
        assert "uplynk-export doctor" in answer.text
        assert "no such table" not in answer.text


def test_a_database_that_hangs_keeps_only_those_waiting_who_ask_it(
    database_url: str, sessions: Sessions
) -> None:
    asked, answered = Event(), Event()

    def now() -> datetime:
        asked.set()
        answered.wait(30)
        return datetime.now(UTC)

    desk = Desk(console_settings(database_url), sessions, now, lambda: None)
    with serving(pages.application(desk)) as url, ThreadPoolExecutor() as pool:
        browser = Served(url).logged_in()
        export = failed(sessions)
        asked_for(sessions, export)
        for path in (*PAGES, f"/export/details/{export.id}"):
            waits = pool.submit(browser.get, f"{url}{path}", timeout=40)
            assert asked.wait(30)
            try:
                assert requests.get(f"{url}/login", timeout=10).status_code == 200, path
            finally:
                answered.set()
            assert waits.result().status_code == 200
            asked.clear()
            answered.clear()


def test_however_many_ask_how_it_is_visitors_are_served(tmp_path: Path) -> None:
    asked, answered = list[None](), Event()

    def hang(*_: object) -> None:
        asked.append(None)
        answered.wait(30)

    with opened(f"sqlite:///{tmp_path}/any.db") as engine:
        event.listen(engine, "before_cursor_execute", hang)
        settings = console_settings(str(engine.url))
        desk = Desk(settings, open_sessions(engine), local, lambda: None)
        with serving(pages.application(desk)) as url, ThreadPoolExecutor(50) as pool:
            health = [pool.submit(requests.get, f"{url}/health", timeout=60) for _ in range(50)]
            wait_until(lambda: asked, what="a look")
            try:  # a file is read by the threads that all pages share
                file = requests.get(f"{url}/static/console.js", timeout=10)
                assert (file.status_code, len(asked)) == (200, 1)
            finally:
                answered.set()
            assert {each.result().text for each in health} == {"ok"}


def test_what_was_given_up_is_delivered_again(page: Served, sessions: Sessions) -> None:
    export = failed(sessions)
    told = Notification(
        id=uuid4(),
        request_id=asked_for(sessions, export),
        channel=Channel.WEBHOOK,
        receiver="https://cms.example",
        type="export.failed",
        payload={"id": "x"},
        created_at=export.created_at,
        attempts=8,
        last_error="500 Internal Server Error",
        dead_at=export.created_at,
    )
    with sessions.begin() as session:
        session.add(told)
    browser, url = page.logged_in(), f"{page.url}/notification/details/{told.id}"
    assert "https://cms.example" in browser.get(f"{page.url}/notification/list?which=dead").text
    assert "500 Internal Server Error" in browser.get(url, timeout=10).text
    form = {"id": told.id, "token": token_of(browser, url)}
    with capture_logs() as said:
        answer = browser.post(f"{page.url}/notification/replay", data=form, timeout=10)
    (line,) = [each for each in said if each["event"] == "replayed by an operator"]
    assert (line["user"], line["request_id"]) == (USER[0], told.request_id)
    assert "It is delivered again." in answer.text
    with sessions.begin() as session:
        again = session.get_one(Notification, told.id)
        assert (again.dead_at, again.attempts, again.last_error) == (None, 0, None)
        assert again.due_at is not None
