"""The exported files over HTTP: videos and captions, and the faults that strike them."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from email.utils import formatdate
from typing import Any

from aiohttp import web

from emulator import wire
from emulator.fault_kinds import BODY_KINDS
from emulator.faults import Rule, Strike
from emulator.interruption import after_work, before_work
from emulator.jobs import Job
from emulator.library import StoredFile
from emulator.ranges import UnsatisfiableError, unchanged, wanted
from emulator.world import WORLD, World

CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Delivery:
    """How one file goes out: as it is, or as a fault bends it."""

    file: StoredFile
    size_bytes: int
    etag: str | None
    modified: int
    content_type: str
    ranges: bool
    declared: bool = True
    stop_after_bytes: int | None = None
    reset: bool = False
    bytes_per_second: int | None = None


def routes() -> list[web.RouteDef]:
    """Return the routes of the files, each for GET and HEAD."""
    name = "/slices/{slice:[0-9a-f]{32}}_g.mp4"
    return [web.get(name, _video), web.get(f"{name}.ttml", _captions)]


async def _video(request: web.Request) -> web.StreamResponse:
    return await _answer(request, "media")


async def _captions(request: web.Request) -> web.StreamResponse:
    return await _answer(request, "captions")


async def _answer(request: web.Request, call: str) -> web.StreamResponse:
    world = request.app[WORLD]
    job = world.jobs.of_slice(request.match_info["slice"])
    assets = [job.asset] if job else []
    world.calls.received(call, assets)
    without = BODY_KINDS if request.method == "HEAD" else ()
    strike = world.faults.strike(call, assets, without)
    if (early := await before_work(request, world, strike)) is not None:
        return early
    delivery = await _delivery(world, job, call) if job else None
    if (late := await after_work(request, world, strike)) is not None:
        return late
    if delivery is None:
        raise web.HTTPNotFound
    return await _send(request, world, _bent(delivery, strike))


async def _delivery(world: World, job: Job, call: str) -> Delivery | None:
    """Return how the file goes out, or None while there is none or none any more."""
    now = world.clock.now()
    moment, life = job.at(now), world.settings.file_life_seconds
    if moment.state != "done" or job.kind != "export":
        return None
    if life is not None and now > moment.finished + life:
        return None
    file = await (world.video(job) if call == "media" else world.captions(job))
    if file is None:
        return None
    return Delivery(
        file=file,
        size_bytes=file.size_bytes,
        etag=file.etag if world.settings.etags else None,
        modified=int(moment.finished),
        content_type="video/mp4" if call == "media" else "application/ttml+xml",
        ranges=world.settings.ranges,
    )


def _bent(delivery: Delivery, strike: Strike) -> Delivery:
    """Return the delivery as a fault makes it."""
    if strike.rule is None or strike.rule.kind not in BENDS:
        return delivery
    return replace(delivery, **BENDS[strike.rule.kind](delivery, strike.rule))


BENDS: Mapping[str, Callable[[Delivery, Rule], dict[str, Any]]] = {
    "short": lambda d, rule: {"size_bytes": min(rule.parameters["bytes"], d.size_bytes)},
    "truncate": lambda _, rule: {"stop_after_bytes": rule.parameters["bytes"]},
    "cut": lambda _, rule: {"stop_after_bytes": rule.parameters["bytes"], "reset": True},
    "throttle": lambda _, rule: {"bytes_per_second": rule.parameters["bytes_per_second"]},
    "ignore_range": lambda _, __: {"ranges": False},
    "no_length": lambda _, __: {"declared": False},
    "changed_etag": lambda _, rule: {
        "etag": rule.parameters.get("etag", f'"changed-{rule.fired}"')
    },
}


async def _send(request: web.Request, world: World, delivery: Delivery) -> web.StreamResponse:
    span = None
    if request.method == "GET" and delivery.ranges:
        try:
            span = _span(request, delivery)
        except UnsatisfiableError:
            headers = {"Content-Range": f"bytes */{delivery.size_bytes}"}
            return web.Response(status=416, headers=headers)
    start, end = span or (0, delivery.size_bytes)
    response = web.StreamResponse(status=206 if span else 200, headers=_headers(delivery))
    if span:
        response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{delivery.size_bytes}"
    if delivery.declared:
        response.content_length = end - start
    await response.prepare(request)
    if request.method == "HEAD":
        return response
    stop = delivery.stop_after_bytes
    reached = end if stop is None else min(end, start + stop)
    await _copy(request, response, world, delivery, start, reached)
    if stop is not None:
        return await _broken_off(request, response, world, delivery)
    await response.write_eof()
    return response


def _span(request: web.Request, delivery: Delivery) -> tuple[int, int] | None:
    """Return the bytes asked for, or None if all are due."""
    if not unchanged(request.headers.get("If-Range"), delivery.etag, delivery.modified):
        return None
    return wanted(request.headers.get("Range"), delivery.size_bytes)


def _headers(delivery: Delivery) -> dict[str, str]:
    headers = {
        "Content-Type": delivery.content_type,
        "Last-Modified": formatdate(delivery.modified, usegmt=True),
    }
    if delivery.ranges:
        headers["Accept-Ranges"] = "bytes"
    if delivery.etag is not None:
        headers["ETag"] = delivery.etag
    return headers


async def _copy(
    request: web.Request,
    response: web.StreamResponse,
    world: World,
    delivery: Delivery,
    start: int,
    end: int,
) -> None:
    """Write the file's bytes from `start` to `end`, no faster than the delivery allows."""
    rate = delivery.bytes_per_second
    chunk_bytes = CHUNK_BYTES if rate is None else max(1, min(CHUNK_BYTES, rate // 10))
    with delivery.file.path.open("rb") as source:
        source.seek(start)
        while start < end and not world.closing.is_set() and not wire.gone(request):
            chunk = await asyncio.to_thread(source.read, min(chunk_bytes, end - start))
            await response.write(chunk)
            start += len(chunk)
            if rate is not None:
                await wire.pause(len(chunk) / rate, world.closing)


async def _broken_off(
    request: web.Request, response: web.StreamResponse, world: World, delivery: Delivery
) -> web.StreamResponse:
    """End the connection before the answer is whole, by FIN or by RST."""
    await wire.flushed(request, world.closing)
    if delivery.reset:
        wire.reset(request)
    elif request.transport is not None:
        request.transport.close()
    return response
