"""Signing: a call's parameters become the two form fields that Uplynk accepts."""

import base64
import hashlib
import hmac
import json
import zlib
from collections.abc import Mapping
from datetime import datetime


def sign(
    parameters: Mapping[str, object], *, owner: str, key: str, now: datetime
) -> dict[str, str]:
    """Return the form fields `msg` and `sig` of one attempt at a call.

    `msg` is base64 of zlib (level 9) of a JSON object with the parameters, `_owner`, and
    `_timestamp` in whole seconds of Unix time; `sig` is the lower-case hex HMAC-SHA256 of that
    base64 text under the API key. An attempt is never sent twice: Uplynk compares the time.

    Source: Uplynk's public documentation, "Integration API: authentication".
    """
    message = {**parameters, "_owner": owner, "_timestamp": int(now.timestamp())}
    packed = zlib.compress(json.dumps(message).encode(), 9)
    text = base64.b64encode(packed)
    signature = hmac.new(key.encode(), text, hashlib.sha256).hexdigest()
    return {"msg": text.decode(), "sig": signature}
