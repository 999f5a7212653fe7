"""Whether a request is signed as Uplynk's documentation says.

Written from the page alone, apart from any client: two implementations that agree are worth more
than one that agrees with itself.
"""

import base64
import binascii
import hashlib
import hmac
import json
import zlib
from typing import Any
from urllib.parse import parse_qsl

from emulator.refusal import Code, RefusedError

CONTENT_TYPE = "application/x-www-form-urlencoded"
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""A thousand asset ids take about 40 kB; more than this is no honest message."""


def verified_parameters(
    body: bytes,
    *,
    user_id: str,
    api_key: str,
    now: float,
    tolerance_seconds: float,
) -> dict[str, Any]:
    """Return the call's parameters, without the signature's own members.

    Args:
        body: The form as it came over the wire.
        user_id: The account's id, 32 hex digits.
        api_key: The account's secret key.
        now: Unix time in seconds, as the emulator sees real time.
        tolerance_seconds: How far `_timestamp` may be from `now`, either way.

    Raises:
        RefusedError: The first thing that is wrong with the form, the signature or the message.
    """
    fields = _form(body)
    _check_signature(fields["msg"], fields["sig"], api_key)
    message = _unpacked(fields["msg"])
    owner = message.pop("_owner", None)
    if owner != user_id:
        raise _refused("_owner is not this account's user id")
    _check_timestamp(message.pop("_timestamp", None), now, tolerance_seconds)
    return message


def _form(body: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=True)
    except ValueError as error:
        raise _refused("the body is not a URL-encoded form") from error
    if sorted(name for name, _ in pairs) != ["msg", "sig"]:
        raise _refused("the form must hold exactly the two fields msg and sig")
    return dict(pairs)


def _check_signature(packed: str, signature: str, api_key: str) -> None:
    expected = hmac.new(api_key.encode(), packed.encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected.encode(), signature.encode()):
        raise _refused("sig is not the lower-case hex HMAC-SHA256 of msg under this account's key")


def _unpacked(packed: str) -> dict[str, Any]:
    try:
        compressed = base64.b64decode(packed.encode(), validate=True)
    except binascii.Error as error:
        raise _refused("msg is not base64 without line breaks") from error
    inflater = zlib.decompressobj()
    try:
        text = inflater.decompress(compressed, MAX_MESSAGE_BYTES)
    except zlib.error as error:
        raise _refused("msg is not zlib inside its base64") from error
    if not inflater.eof or inflater.unused_data:
        raise _refused("msg is not one whole zlib stream of a reasonable size")
    try:
        message = json.loads(text)
    except ValueError as error:
        raise _refused("msg is not JSON inside its zlib") from error
    if not isinstance(message, dict):
        raise _refused("msg is not a JSON object")
    return message


def _check_timestamp(timestamp: object, now: float, tolerance_seconds: float) -> None:
    if type(timestamp) is not int:
        raise _refused("_timestamp must be whole seconds of Unix time")
    if abs(timestamp - now) > tolerance_seconds:
        raise _refused(f"_timestamp is {timestamp - int(now):+d} s away from this server's clock")


def _refused(message: str) -> RefusedError:
    return RefusedError(Code.SIGNATURE, f"Bad signature: {message}")
