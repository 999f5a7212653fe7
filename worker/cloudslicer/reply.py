"""Reply: every way in which a call can end, mapped to what is to be done next.

| what happened                                   | a call that may be repeated | create_export  |
|-------------------------------------------------|-----------------------------|----------------|
| the connection was never made                   | Transient                   | Transient      |
| the answer timed out, the connection broke      | Transient                   | OutcomeUnknown |
| HTTP 429                                        | Transient                   | Transient      |
| HTTP 5xx, with or without an envelope           | Transient                   | OutcomeUnknown |
| HTTP 401, 403; a refusal of the signature       | Transient: a key is mended  | Transient      |
| no envelope: HTML, empty, no object, no `error` | Transient                   | OutcomeUnknown |
| `error` is not 0                                | Permanent                   | Permanent      |
| `error` is 0, but no job or a malformed one     | Transient                   | OutcomeUnknown |

A Retry-After of a 429 or a 5xx goes along. "Not found" is Permanent with a code of its own,
because for a job it means that it was erased.
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import requests

from worker.cloudslicer.job import storable
from worker.errors import OutcomeUnknown, Permanent, Transient

NOT_FOUND = "uplynk_not_found"
REFUSED = "uplynk_refused"

_LONGEST_MESSAGE = 500

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


def read(reply: requests.Response, *, call: str, once: bool, now: datetime) -> Mapping[str, Any]:
    """Return the envelope of a call that succeeded.

    Args:
        reply: the HTTP response, with its body.
        call: the call's name, for the error's sentence.
        once: whether repeating the call would do it twice.
        now: the time against which a Retry-After date counts.

    Raises:
        Transient, OutcomeUnknown, Permanent: as the table of this module says.
    """
    unsure = OutcomeUnknown if once else Transient
    status = reply.status_code
    envelope = _envelope(reply)
    code = None if envelope is None else _error_of(envelope)
    said = "" if envelope is None else _message_of(envelope)
    wait = retry_after(reply.headers.get("Retry-After"), now)
    what = f"Uplynk answered {call} with HTTP {status}" + (f": {said}" if said else "")
    if status == requests.codes.too_many_requests:
        raise Transient("uplynk_busy", what, retry_after=wait)
    if status >= requests.codes.server_error:
        raise unsure("uplynk_unavailable", what, retry_after=wait)
    if status in {401, 403} or (code and _SAYS_NOT_LET_IN.search(said)):
        raise Transient("uplynk_credentials", f"{what}; check UPLYNK_USER_ID and UPLYNK_API_KEY")
    if envelope is None or code is None:
        raise unsure("uplynk_unreadable", f"{what}, and no envelope that can be read")
    if code:
        refusal = NOT_FOUND if _SAYS_NOT_FOUND.search(said) else REFUSED
        said = said or "it gave no reason"
        raise Permanent(refusal, f"Uplynk refused {call} (error {code}): {said}")
    return envelope


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


def retry_after(value: str | None, now: datetime) -> timedelta | None:
    """Read a Retry-After header, seconds or an HTTP date (RFC 9110, 10.2.3); None if neither."""
    if not value:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return timedelta(seconds=min(int(value[:9]), 10**8))
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, OverflowError):  # the latter for a year of twenty digits
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(at - now, timedelta())


def _envelope(reply: requests.Response) -> Mapping[str, Any] | None:
    try:
        # from the bytes: JSON is UTF-8 whatever charset the headers claim
        data = json.loads(reply.content)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def _error_of(envelope: Mapping[str, Any]) -> int | None:
    value = envelope.get("error")
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _message_of(envelope: Mapping[str, Any]) -> str:
    value = envelope.get("msg")
    if not isinstance(value, str):
        return ""
    return _LIKE_A_SIGNATURE.sub("…", storable(value[: 4 * _LONGEST_MESSAGE]))[:_LONGEST_MESSAGE]
