import base64
import hashlib
import hmac
import json
import zlib
from typing import Any
from urllib.parse import urlencode

import pytest

from emulator.refusal import Code, RefusedError
from emulator.signature import verified_parameters

USER_ID = "e" * 32
KEY = "secret"
NOW = 1_800_000_000.0


def sign(packed: str, key: str = KEY) -> str:
    return hmac.new(key.encode(), packed.encode(), hashlib.sha256).hexdigest()


def pack(message: Any) -> str:
    return base64.b64encode(zlib.compress(json.dumps(message).encode(), 9)).decode()


def form(packed: str, **more: str) -> bytes:
    return urlencode({"msg": packed, "sig": sign(packed)} | more).encode()


def message(**changes: Any) -> dict[str, Any]:
    return {"_owner": USER_ID, "_timestamp": int(NOW), "id": "a" * 32} | changes


def verify(body: bytes) -> dict[str, Any]:
    return verified_parameters(body, user_id=USER_ID, api_key=KEY, now=NOW, tolerance_seconds=300)


def test_a_good_signature_gives_the_parameters_alone() -> None:
    assert verify(form(pack(message(ids=["x"])))) == {"id": "a" * 32, "ids": ["x"]}


@pytest.mark.parametrize("seconds", [-300, 300])
def test_the_tolerance_holds_both_ways(seconds: int) -> None:
    assert verify(form(pack(message(_timestamp=int(NOW) + seconds))))


def signed_by_another(key: str) -> bytes:
    packed = pack(message())
    return urlencode({"msg": packed, "sig": sign(packed, key)}).encode()


def broken_lines() -> str:
    packed = pack(message())
    return packed[:20] + "\n" + packed[20:]


def plus_as_space() -> bytes:
    packed = next(p for n in range(1000) if "+" in (p := pack(message(n=n))))
    return f"msg={packed}&sig={sign(packed)}".encode()


BAD = {
    "empty": (b"", "form"),
    "not a form": (b"\xff\xfe", "form"),
    "no sig": (urlencode({"msg": pack(message())}).encode(), "exactly the two fields"),
    "a third field": (form(pack(message()), extra="1"), "exactly the two fields"),
    "msg twice": (form(pack(message())) + b"&msg=x", "exactly the two fields"),
    "another key": (signed_by_another("wrong"), "HMAC"),
    "upper-case sig": (form(pack(message()), sig=sign(pack(message())).upper()), "HMAC"),
    "not escaped": (plus_as_space(), "HMAC"),
    "not base64": (form("***"), "base64"),
    "line breaks": (form(broken_lines()), "base64"),
    "not zlib": (form(base64.b64encode(b"{}").decode()), "zlib"),
    "cut zlib": (
        form(base64.b64encode(zlib.compress(b"{}" * 99)[:-3]).decode()),
        "one whole zlib stream",
    ),
    "more than one stream": (
        form(base64.b64encode(zlib.compress(b"{}") + b"x").decode()),
        "one whole zlib stream",
    ),
    "a bomb": (
        form(base64.b64encode(zlib.compress(b" " * 5_000_000)).decode()),
        "one whole zlib stream",
    ),
    "not JSON": (form(base64.b64encode(zlib.compress(b"{")).decode()), "not JSON"),
    "no object": (form(pack(["x"])), "not a JSON object"),
    "another owner": (form(pack(message(_owner="f" * 32))), "_owner"),
    "no owner": (form(pack({"_timestamp": int(NOW)})), "_owner"),
    "no timestamp": (form(pack({"_owner": USER_ID})), "_timestamp"),
    "fractions": (form(pack(message(_timestamp=NOW + 0.5))), "whole seconds"),
    "a text": (form(pack(message(_timestamp=str(int(NOW))))), "whole seconds"),
    "a truth": (form(pack(message(_timestamp=True))), "whole seconds"),
    "milliseconds": (form(pack(message(_timestamp=int(NOW * 1000)))), "away from"),
    "too old": (form(pack(message(_timestamp=int(NOW) - 301))), "-301 s"),
    "too new": (form(pack(message(_timestamp=int(NOW) + 301))), r"\+301 s"),
}


@pytest.mark.parametrize(("body", "reason"), BAD.values(), ids=BAD.keys())
def test_each_bad_way_is_refused_by_name(body: bytes, reason: str) -> None:
    with pytest.raises(RefusedError, match=reason) as caught:
        verify(body)
    assert caught.value.code is Code.SIGNATURE
    assert caught.value.envelope()["error"] != 0
    assert KEY not in str(caught.value)
