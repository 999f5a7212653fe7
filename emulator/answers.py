"""HTTP answers that are no answers of the API's: error pages, empty bodies, odd envelopes."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from aiohttp import web

from emulator.faults import Strike

LOGIN_PAGE = "<!doctype html><title>Sign in</title><form method=post><input name=user></form>"


def error_page(status: int) -> str:
    """Return an error page as a proxy would make it."""
    text = f"{status} {_phrase(status)}"
    return f"<html><head><title>{text}</title></head><body><h1>{text}</h1></body></html>\n"


def instead(strike: Strike, usual_status: int) -> web.Response | None:
    """Return what a fault answers in place of any work, or None if it strikes later or not."""
    if strike.kind == "status":
        return _plain_status(strike)
    if strike.kind == "error":
        return failure(strike, usual_status)
    if strike.kind == "html":
        return web.Response(text=error_page(HTTPStatus.OK), content_type="text/html")
    if strike.kind == "login_page":
        return web.Response(body=LOGIN_PAGE.encode(), content_type="video/mp4")
    statuses = {"empty": 200, "not_found": 404, "forbidden": 403}
    return web.Response(status=statuses[strike.kind]) if strike.kind in statuses else None


def failure(strike: Strike, usual_status: int) -> web.Response:
    """Answer an `error` or `error_after` fault: a failure envelope, whose `msg` may be absent."""
    message = strike.get("msg")
    envelope = {"error": strike.get("code", 1)} | ({} if message is None else {"msg": message})
    return _with_body(strike.get("status", usual_status), strike.get("body", "json"), envelope)


def too_many() -> web.Response:
    """Answer a call beyond the rate that the settings allow."""
    response = json_answer({"error": 429, "msg": "Too many calls"}, HTTPStatus.TOO_MANY_REQUESTS)
    response.headers["Retry-After"] = "1"
    return response


def json_answer(envelope: Mapping[str, Any], status: int = 200) -> web.Response:
    """Answer with an envelope."""
    return web.Response(text=json.dumps(envelope), status=status, content_type="application/json")


def bent(answer: dict[str, Any], strike: Strike, list_member: str) -> dict[str, Any]:
    """Return a successful answer as a fault leaves it.

    In a list only what is of the rule's asset is touched, or all if the rule has none.
    """
    rule = strike.rule
    if rule is None:
        return answer
    alone = [answer[name] for name in ("job", "asset") if name in answer]
    things = alone or answer.get(list_member) or answer.get("assets", [])
    touched = [each for each in things if rule.asset in (None, each.get("asset", each.get("id")))]
    if rule.kind == "wrong_state":
        for each in touched:
            each["state"] = strike.get("state")
    elif rule.kind == "extra_members":
        more = strike.get("members", {"new_member": {"since": "today"}})
        for target in (answer, *touched):
            target.update(more)
    elif rule.kind == "malformed":
        for target in [answer] if strike.get("member") in answer else touched:
            _spoil(target, strike)
    return answer


def _spoil(target: dict[str, Any], strike: Strike) -> None:
    if strike.get("missing", "value" not in strike.given()):
        target.pop(strike.get("member"), None)
    else:
        target[strike.get("member")] = strike.get("value")


def _plain_status(strike: Strike) -> web.Response:
    """Answer with a status, and a page, an empty body or an envelope under it."""
    status = strike.get("status")
    response = _with_body(status, strike.get("body", "html"), {"error": status})
    if (retry_after := strike.get("retry_after")) is not None:
        response.headers["Retry-After"] = str(retry_after)
    if (location := strike.get("location")) is not None:
        response.headers["Location"] = location
    return response


def _with_body(status: int, body: str, envelope: Mapping[str, Any]) -> web.Response:
    if body == "json":
        return json_answer(envelope, status)
    if body == "empty":
        return web.Response(status=status)
    return web.Response(status=status, text=error_page(status), content_type="text/html")


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase if status in set(HTTPStatus) else "Unknown"
