"""Login: who may see the page, and that what is asked for comes from the page itself."""

import secrets
import time
from collections.abc import Callable
from hashlib import blake2b
from ipaddress import IPv6Network
from math import inf
from urllib.parse import quote

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from pydantic import SecretStr
from sqladmin.authentication import AuthenticationBackend
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from worker.logs import get_logger
from worker.settings import ConsoleSettings
from worker.variables import named_users

LOGIN = "/login"
SESSION_SECONDS = 12 * 3600
# Wrong passwords that one address may send in a minute, and that all may that sent any.
MOST_GUESSES = RateLimitItemPerMinute(5)
MOST_GUESSES_OF_ALL = RateLimitItemPerMinute(60)

_USER, _TOKEN, _SINCE = "user_id", "token", "since"  # sqladmin reads the first

_log = get_logger(__name__)


class Login(AuthenticationBackend):
    """Lets in whom CONSOLE_USERS names.

    The session is a cookie that is signed, and ends SESSION_SECONDS after the login, however much
    it is used. Who logs out, or in again, and whose password is changed, is logged out by that in
    this browser or in all.

    Args:
        settings: with those who may log in.
        now: seconds since 1970.
    """

    def __init__(self, settings: ConsoleSettings, *, now: Callable[[], float] = time.time) -> None:
        self._now = now
        users = settings.console_users or SecretStr("")
        self._users = {name: _digest(password) for name, password in named_users(users) if name}
        self._nobody = secrets.token_bytes(64)
        self._guesses = Guesses()
        super().__init__(
            secret_key=_key(users, settings.console_secret),
            session_cookie="uplynk_export_console",
            max_age=SESSION_SECONDS,
            same_site="lax",  # who follows a link of an alert is logged in; a form elsewhere is not
        )

    async def login(self, request: Request) -> Response | bool:
        """Let in who knows the password; a wrong one is answered after a look at how many were.

        Raises:
            HTTPException: there were too many.
        """
        form = await request.form()
        name, password = str(form.get("username", "")), str(form.get("password", ""))
        address = request.client.host if request.client else ""
        if self._guesses.are_too_many(address):
            raise HTTPException(429, "Too many wrong passwords. Try again in a minute.")
        right = self._users.get(name, self._nobody)
        if not secrets.compare_digest(_digest(password), right):
            self._guesses.note(address)
            _log.warning("login refused")  # what was typed for a name may be a password
            return False
        request.session.clear()
        token = secrets.token_urlsafe(32)
        request.session.update({_USER: name, _TOKEN: token, _SINCE: self._now()})
        _log.info("logged in", user=name)
        return RedirectResponse(_local(request.query_params.get("next", "")), 303)

    async def logout(self, request: Request) -> Response | bool:
        """Forget the session, and show the login.

        Raises:
            HTTPException: another site wants it so.
        """
        if _USER in request.session:
            check_token(request, await request.form())
        request.session.clear()
        return RedirectResponse(LOGIN, 303)

    async def authenticate(self, request: Request) -> Response | bool:
        """Return whether somebody is logged in; who is not goes to the login, and then on."""
        age = self._now() - request.session.get(_SINCE, -inf)
        if request.session.get(_USER) in self._users and age < SESSION_SECONDS:
            return True
        request.session.clear()
        url = LOGIN  # on whatever host this is: what `Host` says is the visitor's
        if request.method == "GET" and request.url.path != "/":
            wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            url += f"?next={quote(wanted, safe='')}"
        return RedirectResponse(url, 303)


class Guesses:
    """Counts the wrong passwords of late.

    Where all addresses together sent too many, those wait that had a part in it: who has not is let
    in all the same, or anybody could lock all operators out.
    """

    def __init__(self) -> None:
        self._window = MovingWindowRateLimiter(MemoryStorage())

    def are_too_many(self, address: str) -> bool:
        """Return whether this address has to wait."""
        own = _whose(address)
        if not self._window.test(MOST_GUESSES, own):
            return True
        left = self._window.get_window_stats(MOST_GUESSES, own).remaining
        return left < MOST_GUESSES.amount and not self._window.test(MOST_GUESSES_OF_ALL)

    def note(self, address: str) -> None:
        """Count one more."""
        self._window.hit(MOST_GUESSES, _whose(address))
        self._window.hit(MOST_GUESSES_OF_ALL)


def check_token(request: Request, form: FormData) -> None:
    """Let a form pass that a page of this session brought.

    Raises:
        HTTPException: it came from elsewhere, or from a page that was open for too long.
    """
    token, given = str(request.session.get(_TOKEN, "")), str(form.get(_TOKEN, ""))
    if not token or not secrets.compare_digest(token.encode(), given.encode(errors="replace")):
        raise HTTPException(
            403, "This page is out of date. Open it again, and repeat what you did."
        )


def _whose(address: str) -> str:
    """Return whose the address is: of IPv6 one has a network of 2**64 addresses at the least."""
    try:
        network = IPv6Network((address.partition("%")[0], 64), strict=False)
    except ValueError:
        return address
    return str(network)


def _key(users: SecretStr, secret: SecretStr | None) -> str:
    """Return what signs the sessions: another one, once a password is another one."""
    given = secret.get_secret_value() if secret else secrets.token_urlsafe(48)
    return blake2b(users.get_secret_value().encode(), key=given.encode()[:64]).hexdigest()


def _digest(password: str) -> bytes:
    return blake2b(password.encode(errors="replace")).digest()


def _local(path: str) -> str:
    """Return where to go on, if that is here: no link leads to another host by way of this."""
    is_local = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if is_local else "/"
