"""The two moments at which a fault can strike any request: before the work and after it."""

from aiohttp import web

from emulator import answers, wire
from emulator.faults import Strike
from emulator.world import World

HANG_SECONDS = 600.0


async def before_work(
    request: web.Request, world: World, strike: Strike
) -> web.StreamResponse | None:
    """Let pass what delays the request; return what is answered instead of any work, or None."""
    await wire.pause(strike.delay_seconds("before"), world.closing)
    if strike.kind == "reset_before":
        return wire.reset(request)
    if strike.kind == "hang" and strike.get("when", "before") == "before":
        return await _hang(request, world, strike)
    return answers.instead(strike, world.settings.error_status)


async def after_work(
    request: web.Request, world: World, strike: Strike
) -> web.StreamResponse | None:
    """Let pass what delays the answer; return what goes out in its place, or None."""
    await wire.pause(strike.delay_seconds("after"), world.closing)
    if strike.kind == "reset_after":
        return wire.reset(request)
    if strike.kind == "hang":
        return await _hang(request, world, strike)
    return None


async def _hang(request: web.Request, world: World, strike: Strike) -> web.StreamResponse:
    return await wire.hang(request, world.closing, strike.get("cap_seconds", HANG_SECONDS))
