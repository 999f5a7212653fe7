"""Reply: every way in which a call can end, mapped to what is to be done next.

| what happened                                   | a call that may be repeated | create_export  |
|-------------------------------------------------|-----------------------------|----------------|
| the connection was never made                   | Transient                   | Transient      |
| the answer timed out, the connection broke      | Transient                   | OutcomeUnknown |
| HTTP 429                                        | Transient                   | Transient      |
| HTTP 5xx, with or without an envelope           | Transient                   | OutcomeUnknown |
| HTTP 401, 403; a refusal of the signature       | Transient: a key is mended  | Transient      |
| HTTP 401, 403, 429, and yet `error` is 0        | Transient                   | OutcomeUnknown |
| no envelope: HTML, empty, no object, no `error`, |                            |                |
| or more than 32 MiB of anything                 | Transient                   | OutcomeUnknown |
| `error` is not 0                                | Permanent                   | Permanent      |
| `error` is 0, but no job or a malformed one     | Transient                   | OutcomeUnknown |

A Retry-After of a 429 or a 5xx goes along. "Not found" is Permanent with a code of its own,
because for a job it means that it was erased.
"""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from worker.cloudslicer.job import storable
from worker.cloudslicer.wire import Answer
from worker.errors import OutcomeUnknown, Permanent, Transient
from worker.headers import date_of, retry_after

NOT_FOUND = "uplynk_not_found"
CREDENTIALS = "uplynk_credentials"
REFUSED = "uplynk_refused"

# How one attempt at a call can end, in a word.
OK = "ok"
OUTCOMES = (
    OK,
    NOT_FOUND,
    REFUSED,
    CREDENTIALS,
    "uplynk_busy",
    "uplynk_unavailable",
    "uplynk_unreachable",
    "uplynk_unreadable",
)

_ANY_TIME = datetime(1970, 1, 1, tzinfo=UTC)

_LONGEST_MESSAGE = 500
_LONGEST_CODE = 20

_NOT_LET_IN = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_BUSY = HTTPStatus.TOO_MANY_REQUESTS
_UNAVAILABLE = HTTPStatus.SERVICE_UNAVAILABLE
_SERVER_ERROR = HTTPStatus.INTERNAL_SERVER_ERROR

# An answer may echo the call that it refuses, and a signature is 64 hex digits, an id 32.
_LIKE_A_SIGNATURE = re.compile(r"[0-9A-Za-z+/=_-]{48,}")

# The only text ever seen is "Not found"; no list of codes is published.
_SAYS_NOT_FOUND = re.compile(
    r"(\bno|not|n't) (be )?found\b|does(n't| not) exist|no such", re.IGNORECASE
)
# A wrong key or clock is ours to mend; to fail every export for it would be a disaster.
_SAYS_NOT_LET_IN = re.compile(
    r"signature|\bsig\b|timestamp|_owner|credential|unauthori[sz]ed|authenticat|api.?key"
    r"|\b(user|account|owner)\b.{0,60}\bnot (be )?found",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, as far as it can be read.

    Attributes:
        status: the HTTP status.
        headers: the HTTP headers.
        envelope: the JSON object with an integer `error`, or None if there is none.
        said: what `msg` says, fit to be shown and kept; "" where it says nothing.
    """

    status: int
    headers: Mapping[str, str]
    envelope: Mapping[str, Any] | None
    said: str

    @property
    def code(self) -> int | None:
        """The envelope's `error`."""
        return None if self.envelope is None else int(self.envelope["error"])

    @property
    def is_of_a_server_in_trouble(self) -> bool:
        """Whether nobody may have looked at the call: HTTP 429 or 5xx."""
        return self.status == _BUSY or self.status >= _SERVER_ERROR

    @property
    def is_not_let_in(self) -> bool:
        """Whether the answer is about who asks, not about what was asked."""
        if self.is_of_a_server_in_trouble:
            return False
        return self.status in _NOT_LET_IN or bool(self.code and _SAYS_NOT_LET_IN.search(self.said))

    @property
    def refuses_the_signature(self) -> bool:
        """Whether the API itself says that the call was not let in, so that it surely did nothing.

        A shut door without an envelope may be a proxy's, and an `error` of 0 is no refusal.
        """
        return bool(self.code) and self.is_not_let_in

    @property
    def lets_in(self) -> bool:
        """Whether the API looked at the call itself, whatever it said to it: it was signed well."""
        troubled = self.is_of_a_server_in_trouble or self.is_not_let_in
        return self.envelope is not None and not troubled


def is_gone(word: str) -> bool:
    """Return whether this word of jobs/delete says that there is no such job, or none any more."""
    return word.strip().lower() == "deleted" or bool(_SAYS_NOT_FOUND.search(word))


def parse(answer: Answer, *, hide: Collection[str] = ()) -> Reply:
    """Return what can be read of an answer; whatever it echoes of `hide` is left out."""
    envelope = _envelope(answer.body)
    said = "" if envelope is None else _message_of(envelope, hide)
    return Reply(answer.status, answer.headers, envelope, said)


def read(reply: Reply, *, call: str, once: bool, now: datetime) -> Mapping[str, Any]:
    """Return the envelope of a call that succeeded.

    Args:
        reply: what came back.
        call: the call's name, for the error's sentence.
        once: whether repeating the call would do it twice.
        now: the time against which a Retry-After date counts in a reply without a `Date`.

    Raises:
        Transient, OutcomeUnknown, Permanent: as the table of this module says.
    """
    unsure = OutcomeUnknown if once else Transient
    status, code, said = reply.status, reply.code, reply.said
    what = f"Uplynk answered {call} with HTTP {status}" + (f": {said}" if said else "")
    # the date is of the same clock as the reply's own, whatever ours shows
    wait = retry_after(reply.headers.get("Retry-After"), date_of(reply.headers.get("Date")) or now)
    if code == 0 and (status == _BUSY or status in _NOT_LET_IN):
        raise unsure("uplynk_unreadable", f"{what}, and yet that it did it", retry_after=wait)
    if status == _BUSY:
        raise Transient("uplynk_busy", what, retry_after=wait, is_asked_too_much=True)
    if status >= _SERVER_ERROR:
        too_much = status == _UNAVAILABLE
        raise unsure("uplynk_unavailable", what, retry_after=wait, is_asked_too_much=too_much)
    if reply.is_not_let_in:
        raise Transient(CREDENTIALS, f"{what}; check UPLYNK_USER_ID and UPLYNK_API_KEY")
    if reply.envelope is None:
        raise unsure("uplynk_unreadable", f"{what}, and no envelope that can be read")
    if code:
        refusal = NOT_FOUND if _SAYS_NOT_FOUND.search(said) else REFUSED
        number, said = f"{code}"[:_LONGEST_CODE], said or "it gave no reason"
        raise Permanent(refusal, f"Uplynk refused {call} (error {number}): {said}")
    return reply.envelope


def outcome(reply: Reply) -> str:
    """Return in a word how a call ended that was answered: OK, or the code of what `read` raises.

    What a call brought is not looked at, only whether Uplynk says that it did it.
    """
    try:
        read(reply, call="", once=False, now=_ANY_TIME)
    except (Transient, Permanent) as error:
        return error.code
    return OK


def unmade(call: str, error: Exception) -> Transient:
    """Return what follows from a connection that was never made: the call surely did nothing."""
    return Transient(
        "uplynk_unreachable", f"no connection to Uplynk for {call} ({type(error).__name__})"
    )


def broken(call: str, error: Exception, *, once: bool) -> Transient:
    """Return what follows from a connection that broke or fell silent after it was made."""
    unsure = OutcomeUnknown if once else Transient
    return unsure(
        "uplynk_unavailable", f"Uplynk did not answer {call} to its end ({type(error).__name__})"
    )


def _envelope(body: bytes) -> Mapping[str, Any] | None:
    try:
        # from the bytes: JSON is UTF-8 whatever charset the headers claim
        data = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) and _is_whole(data.get("error")) else None


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _message_of(envelope: Mapping[str, Any], hide: Collection[str]) -> str:
    value = envelope.get("msg")
    if not isinstance(value, str):
        return ""
    text = storable(value)
    for secret in hide:
        text = text.replace(secret, "…")
    return _LIKE_A_SIGNATURE.sub("…", text)[:_LONGEST_MESSAGE]
