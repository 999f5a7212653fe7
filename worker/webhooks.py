"""Webhooks: an event is posted to a URL of the CMS's, signed as Standard Webhooks says.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from importlib.metadata import version
from threading import local
from urllib.parse import urlsplit
from weakref import WeakSet

import requests
from standardwebhooks.webhooks import Webhook
from urllib3.exceptions import HTTPError

from worker.errors import ExportError, Permanent, Stopping, Transient, Undelivered
from worker.headers import retry_after
from worker.transfer import hosts
from worker.transfer.patience import Patience
from worker.transfer.session import FileSession

CONNECT_SECONDS = 5.0
# So much of an answer that is no success is told to a person.
MOST_TOLD_BYTES = 200

_SUCCESS = range(200, 300)
_GONE = requests.codes.gone
# What a receiver says that wants to be left alone, if it says for how long.
_BUSY = frozenset({429, 503})


class Webhooks:
    """Posts events, each in one request that lasts no longer than it may, whatever comes back.

    Args:
        allowed: hosts and networks that may be posted to.
        secrets: what each is signed by; none: nothing can be posted.
        timeout_seconds: how long a receiver may take, from the first byte to the last.
        now: gives the time, aware and in UTC.
        stopping: whether this worker was told to stop.
    """

    def __init__(
        self,
        allowed: Sequence[str],
        secrets: Sequence[str],
        *,
        timeout_seconds: float,
        now: Callable[[], datetime],
        stopping: Callable[[], bool],
    ) -> None:
        self._allowed, self._seconds = allowed, timeout_seconds
        self._signers = [Webhook(secret) for secret in secrets]
        self._now, self._stopping = now, stopping
        self._own, self._sessions = local(), WeakSet[FileSession]()

    def post(self, url: str, event_id: str, body: str) -> None:
        """Post an event; it is delivered once the receiver has answered with 2xx.

        Args:
            url: where to.
            event_id: what the receiver drops duplicates by.
            body: JSON.

        Raises:
            Undelivered: it is not, or nobody knows whether it is.
            Stopping: this worker is to stop.
        """
        self._check(url)
        session = self._session()
        patience, is_taken = Patience(self._seconds, self._stopping), False
        try:
            with session.interruptible(patience):
                self._send(session, url, event_id, body)
                patience.check()  # a line that was cut looks like the end of an answer
                is_taken = True
        except (Transient, Stopping) as error:
            if is_taken:  # it was over in the very moment after that
                return
            if isinstance(error, Stopping):
                raise
            raise self._explained(url, error) from None
        except (requests.RequestException, HTTPError) as error:  # urllib3's own get through too
            if self._stopping():
                raise Stopping from None
            said = self._late if patience.is_over else f"no answer ({type(error).__name__})"
            raise Undelivered(said, is_of_receiver=True) from None

    def cut(self) -> None:
        """Have whatever is posted just now end at once; for a process that ends."""
        for session in list(self._sessions):
            session.cut()

    def _send(self, session: FileSession, url: str, event_id: str, body: str) -> None:
        with session.post(
            url,
            data=body.encode(),
            headers=self._headers(event_id, body),
            allow_redirects=False,
            stream=True,
            timeout=(CONNECT_SECONDS, self._seconds),
        ) as reply:
            if reply.status_code not in _SUCCESS:
                raise self._refused(reply)

    def _headers(self, event_id: str, body: str) -> dict[str, str]:
        now = self._now()
        return {
            "Content-Type": "application/json",
            "User-Agent": f"uplynk-export/{version('uplynk-export')}",
            "webhook-id": event_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(
                signer.sign(event_id, now, body) for signer in self._signers
            ),
        }

    def _refused(self, reply: requests.Response) -> Undelivered:
        said = ""
        with suppress(HTTPError):  # the status is what counts
            said = _text(reply.raw.read(MOST_TOLD_BYTES, decode_content=True))
        status = reply.status_code
        wait = retry_after(reply.headers.get("Retry-After"), self._now())
        return Undelivered(
            f"HTTP {status}{': ' if said else ''}{said}",
            is_final=status == _GONE,
            is_of_receiver=status in _BUSY and wait is not None,
            retry_after=wait,
        )

    def _check(self, url: str) -> None:
        if not self._signers:
            raise Undelivered("WEBHOOK_SECRET is not set, and nothing is sent without a signature")
        try:
            hosts.check(url, self._allowed)
        except (Transient, Permanent) as error:
            raise self._explained(url, error) from None

    def _explained(self, url: str, error: ExportError) -> Undelivered:
        """Return in words of webhooks what those say who fetch files."""
        match error.code:
            case "file_host_unlisted":
                host = urlsplit(url).hostname
                return Undelivered(
                    f"WEBHOOK_HOSTS does not list {host}, or it has an address that is not public"
                    " and whose network is not listed",
                )
            case "file_url_refused":
                return Undelivered("its URL is none that anything may be sent to", is_final=True)
        return Undelivered(self._late, is_of_receiver=True)

    @property
    def _late(self) -> str:
        return f"no answer within {self._seconds:g} s (WEBHOOK_TIMEOUT_SECONDS)"

    def _session(self) -> FileSession:
        """Return the calling thread's session."""
        if not hasattr(self._own, "session"):
            self._own.session = FileSession(self._allowed)
            self._sessions.add(self._own.session)
        session: FileSession = self._own.session
        return session


def _text(body: bytes) -> str:
    """Return the first line of a body, as far as a person can read it."""
    text = body.decode("utf-8", "replace").strip().partition("\n")[0]
    return "".join(letter for letter in text if letter.isprintable())
