"""Signed: a call to the emulator, signed by the standard library and nothing of ours."""

import base64
import hashlib
import hmac
import json
import time
import zlib
from typing import Any

import requests

from emulator.server import Emulator


def post(
    emulator: Emulator, call: str, *, timeout: float = 10, **parameters: Any
) -> requests.Response:
    """Call the emulated Cloud Slicer, such as `jobs/get`; returns its answer as it came."""
    settings = emulator.settings
    message = {"_owner": settings.user_id, "_timestamp": int(time.time()), **parameters}
    packed = base64.b64encode(zlib.compress(json.dumps(message).encode(), 9)).decode()
    signature = hmac.new(settings.api_key.encode(), packed.encode(), hashlib.sha256).hexdigest()
    url = f"{emulator.url}/api2/cloudslicer/{call}"
    form = {"msg": packed, "sig": signature}
    return requests.post(url, data=form, timeout=timeout, allow_redirects=False)
