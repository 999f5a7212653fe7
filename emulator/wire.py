"""What happens to a connection, below HTTP: resets, silence, slow answers."""

import asyncio
import fcntl
import socket
import struct
import termios
from contextlib import suppress

from aiohttp import web

RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER switched on with a time of 0: closing sends RST, not FIN (socket(7))."""
LOOK_SECONDS = 0.05
FLUSH_SECONDS = 10.0


def reset(request: web.Request) -> web.StreamResponse:
    """Reset the request's TCP connection; return a response that goes nowhere."""
    transport = request.transport
    if transport is not None:
        connection = transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        transport.abort()
    return web.Response()


async def hang(
    request: web.Request, closing: asyncio.Event, cap_seconds: float
) -> web.StreamResponse:
    """Never answer: wait until the client is gone, the cap is reached or the emulator closes."""
    loop = asyncio.get_running_loop()
    cap = loop.time() + cap_seconds
    while not gone(request) and not closing.is_set() and loop.time() < cap:
        await pause(LOOK_SECONDS, closing)
    return reset(request)


def gone(request: web.Request) -> bool:
    """Tell whether the client has closed the connection."""
    return request.transport is None or request.transport.is_closing()


async def pause(seconds: float, closing: asyncio.Event) -> None:
    """Wait, but not longer than the emulator lives."""
    if seconds > 0:
        with suppress(TimeoutError):
            await asyncio.wait_for(closing.wait(), seconds)


async def flushed(request: web.Request, closing: asyncio.Event) -> None:
    """Wait until the client's machine has all that was written: a reset throws away the rest."""
    loop = asyncio.get_running_loop()
    cap = loop.time() + FLUSH_SECONDS
    while not gone(request) and not closing.is_set() and loop.time() < cap:
        if not _unsent_bytes(request):
            return
        await pause(0.005, closing)


def _unsent_bytes(request: web.Request) -> int:
    """Count what waits in the transport and, unacknowledged, in the socket (tcp(7), SIOCOUTQ)."""
    if not isinstance(request.transport, asyncio.Transport):
        return 0
    waiting = request.transport.get_write_buffer_size()
    connection = request.transport.get_extra_info("socket")
    if connection is None:
        return waiting
    try:
        answer = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, struct.pack("i", 0))
    except OSError:  # only Linux tells it of sockets
        return waiting
    return waiting + int(struct.unpack("i", answer)[0])
