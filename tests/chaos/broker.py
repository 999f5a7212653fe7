"""Broker: the storm's Redis, which is flushed, cut off and killed."""

from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

import redis

from tests.services import free_port, redis_server


@dataclass(frozen=True, slots=True)
class Wipe:
    """That every message was destroyed at some time in this span."""

    begin: datetime
    end: datetime


@dataclass(slots=True)
class Broker:
    """A Redis of the storm's own, always at the same port, that keeps nothing."""

    port: int = field(default_factory=free_port)
    wipes: list[Wipe] = field(default_factory=list)
    _server: ExitStack | None = None
    _died: datetime | None = None

    @property
    def url(self) -> str:
        """Where it is."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def is_up(self) -> bool:
        """Whether it runs."""
        return self._server is not None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.die()

    def start(self) -> None:
        """Have it run, empty if it had not."""
        if self._server is None:
            stack = ExitStack()
            _, process = stack.enter_context(redis_server(self.port))
            stack.callback(process.wait)
            stack.callback(process.kill)
            self._server = stack
            if self._died is not None:
                self.wipes.append(Wipe(self._died, datetime.now(UTC)))

    def die(self) -> bool:
        """Kill it; False if it was not there."""
        if self._server is None:
            return False
        self._died = datetime.now(UTC)
        self._server.close()
        self._server = None
        return True

    def flush(self) -> bool:
        """Destroy every message; False if it was not there."""
        if self._server is None:
            return False
        begin = datetime.now(UTC)
        with redis.Redis.from_url(self.url) as client:
            client.flushall()
        self.wipes.append(Wipe(begin, datetime.now(UTC)))
        return True

    def cut(self) -> bool:
        """Close every client's connection; False if it was not there."""
        if self._server is None:
            return False
        with redis.Redis.from_url(self.url) as client:
            client.client_kill_filter(_type="normal", skipme=True)
        return True

    def messages(self) -> dict[str, int]:
        """Return how many messages are under each key that holds any, waiting or in hands.

        A bell is a list as well, and holds none.
        """
        found: dict[str, int] = {}
        with redis.Redis.from_url(self.url, decode_responses=True) as client:
            for key in client.scan_iter():
                if key.startswith("uplynk-export.bell."):
                    continue
                kind = str(client.type(key))
                if kind == "list":
                    found[key] = int(client.llen(key))
                elif kind == "hash":
                    found[key] = int(client.hlen(key))
        return {key: count for key, count in found.items() if count}
