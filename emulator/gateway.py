"""Requests to the API: the signature, the faults, the call, the answer."""

from typing import Any

from aiohttp import web

from emulator import answers
from emulator.api import listed_assets, named_assets, perform
from emulator.faults import Strike
from emulator.interruption import after_work, before_work
from emulator.refusal import Code, RefusedError
from emulator.signature import CONTENT_TYPE, verified_parameters
from emulator.world import WORLD, World


def routes() -> list[web.RouteDef]:
    """Return the routes of the API; whatever else lies below /api2/ is an unknown call."""
    return [web.post("/api2/{path:.*}", _answer)]


async def _answer(request: web.Request) -> web.StreamResponse:
    world = request.app[WORLD]
    call = _call_name(request.match_info["path"])
    given, refusal = _verified(world, request, await request.read())
    named = named_assets(world, call, given)
    world.calls.received(call, named)
    shown = listed_assets(world, given) if call == "jobs/list" else named
    if not world.rate.allows():
        return answers.too_many()
    strike = world.faults.strike(call, shown)
    if (early := await before_work(request, world, strike)) is not None:
        return early
    response = _worked(world, request, strike, call, given, refusal)
    return await after_work(request, world, strike) or response


def _call_name(path: str) -> str:
    """Return a call's name; a path of no known family is a name that no call has."""
    family, _, rest = path.partition("/")
    if family == "cloudslicer" and rest.startswith("jobs/"):
        return rest
    return path if family == "asset" else f"/api2/{path}"


def _verified(
    world: World, request: web.Request, body: bytes
) -> tuple[dict[str, Any], RefusedError | None]:
    """Return the parameters, or none and why the request is refused."""
    try:
        if request.content_type != CONTENT_TYPE:
            raise RefusedError(Code.SIGNATURE, f"Bad signature: the body must be {CONTENT_TYPE}")  # noqa: TRY301 - one refusal, one place
        parameters = verified_parameters(
            body,
            user_id=world.settings.user_id,
            api_key=world.settings.api_key,
            now=world.real_now(),
            tolerance_seconds=world.settings.timestamp_tolerance_seconds,
        )
    except RefusedError as refusal:
        return {}, refusal
    return parameters, None


def _worked(
    world: World,
    request: web.Request,
    strike: Strike,
    call: str,
    given: dict[str, Any],
    refusal: RefusedError | None,
) -> web.StreamResponse:
    """Do the call, and answer as the fault lets it."""
    try:
        if refusal is not None:
            raise refusal
        answer = perform(world, call, given, f"{request.scheme}://{request.host}")
    except RefusedError as refused:
        return answers.json_answer(refused.envelope(), world.settings.error_status)
    if strike.kind == "error_after":
        return answers.failure(strike, world.settings.error_status)
    envelope = {"error": 0} | answer
    return answers.json_answer(answers.bent(envelope, strike, world.settings.list_member))
