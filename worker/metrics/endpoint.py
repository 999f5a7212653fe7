"""Endpoint: where Prometheus comes to be told."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.registry import Collector


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An HTTP server of metrics, in threads of its own.

    Attributes:
        url: where it answers.
        close: has it answer no more.
    """

    url: str
    close: Callable[[], None]


def serve(collector: Collector, *, host: str, port: int) -> Endpoint:
    """Serve what `collector` tells at `host`, in threads of its own, until it is closed.

    Children that are forked after this do not keep the port from the next one who wants it.

    Args:
        collector: is asked for each scrape, from any thread.
        host: the address to listen on.
        port: the port; 0 for any that is free.

    Raises:
        OSError: it can't be listened there.
    """
    registry = CollectorRegistry()
    registry.register(collector)
    server, thread = start_http_server(port, addr=host, registry=registry)
    os.register_at_fork(after_in_child=server.socket.close)

    def close() -> None:
        server.shutdown()
        thread.join()
        server.server_close()

    return Endpoint(f"http://{_shown(server)}/metrics", close)


def _shown(server: WSGIServer) -> str:
    host, port, *_ = server.server_address
    name = str(host)
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
