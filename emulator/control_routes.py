"""The emulator's own endpoints below /control/: JSON, unsigned, no part of Uplynk's API."""

import json
from typing import Any

from aiohttp import web

from emulator.answers import json_answer
from emulator.jobs import Job, arguments
from emulator.world import WORLD, World


def routes() -> list[web.RouteDef]:
    """Return the routes of the control endpoints."""
    return [
        web.get("/control/health", _health),
        web.get("/control/faults", _faults),
        web.post("/control/faults", _add_fault),
        web.delete("/control/faults", _clear_faults),
        web.get("/control/faults/{id}", _fault),
        web.delete("/control/faults/{id}", _remove_fault),
        web.get("/control/jobs", _jobs),
        web.get("/control/calls", _calls),
        web.get("/control/clock", _clock),
        web.post("/control/clock", _set_clock),
        web.get("/control/assets/{id}", _asset),
        web.put("/control/assets/{id}", _override),
        web.get("/control/media/{id}", _media),
        web.post("/control/reset", _reset),
    ]


async def _health(request: web.Request) -> web.Response:
    world = request.app[WORLD]
    return json_answer({"status": "ok", "user_id": world.settings.user_id})


async def _faults(request: web.Request) -> web.Response:
    return json_answer({"faults": [rule.shown() for rule in request.app[WORLD].faults.all()]})


async def _add_fault(request: web.Request) -> web.Response:
    given = await _object(request)
    try:
        rule = request.app[WORLD].faults.add(given)
    except ValueError as error:
        raise _bad(str(error)) from error
    return json_answer(rule.shown(), status=201)


async def _clear_faults(request: web.Request) -> web.Response:
    request.app[WORLD].faults.clear()
    return web.Response(status=204)


async def _fault(request: web.Request) -> web.Response:
    for rule in request.app[WORLD].faults.all():
        if rule.id == request.match_info["id"]:
            return json_answer(rule.shown())
    raise _none("fault")


async def _remove_fault(request: web.Request) -> web.Response:
    if not request.app[WORLD].faults.remove(request.match_info["id"]):
        raise _none("fault")
    return web.Response(status=204)


async def _jobs(request: web.Request) -> web.Response:
    world = request.app[WORLD]
    asset, kind = request.query.get("asset"), request.query.get("kind", "export")
    jobs = [job for job in world.jobs.ever(asset) if kind in ("all", job.kind)]
    return json_answer({"count": len(jobs), "jobs": [_record(world, job) for job in jobs]})


async def _calls(request: web.Request) -> web.Response:
    return json_answer(request.app[WORLD].calls.counted())


async def _clock(request: web.Request) -> web.Response:
    clock = request.app[WORLD].clock
    return json_answer({"now": clock.now(), "speed": clock.speed})


async def _set_clock(request: web.Request) -> web.Response:
    given = await _object(request)
    clock = request.app[WORLD].clock
    unknown = given.keys() - {"advance_seconds", "speed"}
    if unknown:
        raise _bad(f"{min(unknown)} is not a field of the clock")
    for name, value in given.items():
        if type(value) not in (int, float):
            raise _bad(f"{name} must be a number")
    try:
        clock.run_at(given.get("speed", clock.speed))
        clock.advance(given.get("advance_seconds", 0))
    except ValueError as error:
        raise _bad(str(error)) from error
    return await _clock(request)


async def _asset(request: web.Request) -> web.Response:
    return _overridden(request, {})


async def _override(request: web.Request) -> web.Response:
    return _overridden(request, await _object(request))


def _overridden(request: web.Request, given: dict[str, Any]) -> web.Response:
    try:
        return json_answer(request.app[WORLD].catalogue.override(request.match_info["id"], given))
    except ValueError as error:
        raise _bad(str(error)) from error


async def _media(request: web.Request) -> web.Response:
    world = request.app[WORLD]
    job = world.jobs.known(request.match_info["id"])
    if job is None:
        raise _none("job")
    file = await world.video(job)
    answer = {"sha256": await world.library.sha256(file), "size_bytes": file.size_bytes}
    return json_answer(answer | {"etag": file.etag})


async def _reset(request: web.Request) -> web.Response:
    request.app[WORLD].reset()
    return web.Response(status=204)


def _record(world: World, job: Job) -> dict[str, Any]:
    now = world.clock.now()
    moment = job.at(now)
    return {
        "id": job.id,
        "asset": job.asset,
        "kind": job.kind,
        "args": arguments(job, echo_aaclc=True),
        "state": moment.state,
        "attempts": moment.attempts,
        "created": round(job.created * 1000),
        "finished": round(moment.finished * 1000),
        "erased": job.erased(now),
    }


async def _object(request: web.Request) -> dict[str, Any]:
    try:
        given = json.loads(await request.text())
    except ValueError as error:
        raise _bad("the body must be JSON") from error
    if not isinstance(given, dict):
        raise _bad("the body must be a JSON object")
    return given


def _bad(sentence: str) -> web.HTTPBadRequest:
    return web.HTTPBadRequest(
        text=json.dumps({"message": sentence}), content_type="application/json"
    )


def _none(noun: str) -> web.HTTPNotFound:
    return web.HTTPNotFound(
        text=json.dumps({"message": f"no such {noun}"}), content_type="application/json"
    )
