"""A receiver of webhooks, as a CMS would have one: it checks the signature, and keeps what came."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any, cast

from standardwebhooks.webhooks import Webhook

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
OTHER_SECRET = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVoyMzQ1Njc="


@dataclass
class Receiver:
    """Where it is, what it answers, and what came; all of it can be changed at any time.

    Attributes:
        url: where webhooks go.
        status: what each is answered with.
        delay_seconds: how long it takes to answer.
        secret: by which their signatures are checked; a wrong one is answered with 401.
        events: those that were taken, in their order.
        came: how many came, whatever became of them.
        over: ends every delay.
        traceparents: by which those that were taken say what trace they are of.
    """

    url: str
    status: int = 204
    delay_seconds: float = 0.0
    secret: str = SECRET
    headers: dict[str, str] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    came: int = 0
    over: Event = field(default_factory=Event)
    traceparents: list[str] = field(default_factory=list)

    def take(self, body: bytes, headers: dict[str, str]) -> int:
        """Return the status that one is answered with; it is kept if that is a success."""
        self.came += 1
        self.over.wait(self.delay_seconds)
        Webhook(self.secret).verify(body, headers)
        assert headers["webhook-id"] == json.loads(body)["id"]
        if self.status < 300:
            self.events.append(json.loads(body))
            self.traceparents.append(headers.get("traceparent", ""))
        return self.status


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        receiver = cast("_Server", self.server).receiver
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            status = receiver.take(body, headers)
        except Exception:  # noqa: BLE001  (whatever it is, the webhook is at fault)
            status = 401
        self.send_response(status)
        for name, value in receiver.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the base class's)
        pass


class _Server(ThreadingHTTPServer):
    receiver: Receiver


@contextmanager
def receiving(port: int = 0) -> Iterator[Receiver]:
    """Receive webhooks on this machine."""
    with _Server(("127.0.0.1", port), _Handler) as server:
        server.receiver = Receiver(f"http://127.0.0.1:{server.server_address[1]}/hooks?who=cms")
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.receiver
        finally:
            server.receiver.over.set()
            server.shutdown()
            thread.join()
