"""Guard: what holds for each answer of the page, whatever made it."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# No form of the page's comes near it.
MOST_BODY_BYTES = 1 << 16
# What browsers may keep: these files change with a release only.
KEPT_SECONDS = 3600
_KEPT = ("/statics/", "/static/")

# Everything is the page's own: nothing inline, nothing of another host.
POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",  # the style sheet's little pictures
    "font-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}
HEADERS = {
    "Content-Security-Policy": "; ".join(f"{what} {where}" for what, where in POLICY.items()),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Guard:
    """Sets the headers of every answer, and reads no large or endless body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what is asked, as ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_kept = scope["path"].startswith(_KEPT)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers["Cache-Control"] = f"max-age={KEPT_SECONDS}" if is_kept else "no-store"
                if scope["scheme"] == "https":
                    _secure(headers)
            await send(message)

        app = self._app if _is_short(scope) else PlainTextResponse("too long", 413)
        await app(scope, receive, send_guarded)


def _is_short(scope: Scope) -> bool:
    if scope["method"] in {"GET", "HEAD"}:
        return True
    length = Headers(scope=scope).get("content-length", "")
    return length.isascii() and length.isdigit() and int(length[:20]) <= MOST_BODY_BYTES


def _secure(headers: MutableHeaders) -> None:
    """Have no cookie that was set over HTTPS sent without it."""
    cookies = headers.getlist("set-cookie")
    del headers["set-cookie"]
    for cookie in cookies:
        headers.append("set-cookie", f"{cookie}; secure")
