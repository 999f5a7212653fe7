"""Signing: fixed vectors, and fields that decode to what was sent."""

import base64
import hashlib
import hmac
import json
import zlib
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.cloudslicer.signing import sign

NOW = datetime(2025, 1, 1, tzinfo=UTC)
OWNER = "0123456789abcdef0123456789abcdef"

# MSG was made with the standard library alone: base64.b64encode(zlib.compress(text, 9)), where
# text is, on one line, b'{"asset": "a29a0bf647454d70bbb9b13d6896a108", "_owner":
# "0123456789abcdef0123456789abcdef", "_timestamp": 1735689600}'.
# SIG was made of MSG by `openssl dgst -sha256 -hmac s3cret`.
MSG = (
    "eNpdjDkKgDAQAL8iW1tszO1nZNckYBEVE7AQ/66xtByYmQuolFhh7IAGT8jJKKu0ChaZ2bOQwThvSKCDvoNpO9d4NBvF"
    "IJU21nniOcT058+uS46lUt7fQlip2wrxfgBvOSAv"
)
SIG = "6849a584b05bb9b4118d3e6e20c29e0cb5bb294f3807c5910e500265b301eed4"

# The same with `"aaclc": 1` after the asset.
MSG_AACLC = (
    "eNpdjDsKgDAQBa8iqS025u9lZDcfEIyKCViIdzdp7d7AzHsYlhIrmweGk0OgpKWRSgYDROSIi6Ct08jBsrE56DffZN72"
    "ctx7vHoJfBJSaWMdkg8x/bmXS11zLBXz2XMjVL8FeD/zJyM+"
)
SIG_AACLC = "de4932aa17d8895520d86642d5ef646d06701be75a164392f98d8177a883bf05"

# Another zlib packs the same text into other bytes, and is right too.
same_zlib = pytest.mark.skipif("ng" in zlib.ZLIB_RUNTIME_VERSION, reason="zlib-ng packs otherwise")

parameters = st.dictionaries(
    st.text(min_size=1).filter(lambda name: not name.startswith("_")),
    st.one_of(st.text(), st.integers(), st.lists(st.text())),
)


def unpacked(fields: dict[str, str]) -> dict[str, object]:
    message: dict[str, object] = json.loads(zlib.decompress(base64.b64decode(fields["msg"])))
    return message


@same_zlib
def test_the_fields_are_those_of_the_vector() -> None:
    fields = sign({"asset": "a29a0bf647454d70bbb9b13d6896a108"}, owner=OWNER, key="s3cret", now=NOW)
    assert fields == {"msg": MSG, "sig": SIG}


@same_zlib
def test_an_export_in_aac_lc_is_signed_as_the_vector_says() -> None:
    fields = sign(
        {"asset": "a29a0bf647454d70bbb9b13d6896a108", "aaclc": 1},
        owner=OWNER,
        key="s3cret",
        now=NOW,
    )
    assert fields == {"msg": MSG_AACLC, "sig": SIG_AACLC}


@settings(deadline=None)
@given(parameters=parameters, key=st.text(min_size=1), seconds=st.integers(0, 4_000_000_000))
def test_the_message_decodes_to_what_was_sent(
    parameters: dict[str, object], key: str, seconds: int
) -> None:
    now = datetime.fromtimestamp(seconds, UTC)
    fields = sign(parameters, owner=OWNER, key=key, now=now)
    assert unpacked(fields) == {**parameters, "_owner": OWNER, "_timestamp": seconds}
    expected = hmac.new(key.encode(), fields["msg"].encode(), hashlib.sha256).hexdigest()
    assert fields["sig"] == expected
    assert "\n" not in fields["msg"]


def test_the_vectors_are_what_they_say() -> None:
    export = {"asset": "a29a0bf647454d70bbb9b13d6896a108"}
    end = {"_owner": OWNER, "_timestamp": 1_735_689_600}
    assert unpacked({"msg": MSG}) == {**export, **end}
    assert unpacked({"msg": MSG_AACLC}) == {**export, "aaclc": 1, **end}


def test_the_timestamp_is_whole_seconds_of_unix_time_in_any_zone() -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=-8))) + timedelta(microseconds=999_999)
    stamp = unpacked(sign({}, owner=OWNER, key="k", now=elsewhere))["_timestamp"]
    assert (stamp, type(stamp)) == (1_735_689_600, int)


def test_a_parameter_cannot_take_the_place_of_the_owner_or_the_time() -> None:
    fields = sign({"_owner": "x", "_timestamp": 0}, owner=OWNER, key="k", now=NOW)
    assert unpacked(fields) == {"_owner": OWNER, "_timestamp": 1_735_689_600}


def test_another_key_another_signature() -> None:
    one, two = (sign({}, owner=OWNER, key=key, now=NOW) for key in ("one", "two"))
    assert one["msg"] == two["msg"]
    assert one["sig"] != two["sig"]


def test_another_second_another_message() -> None:
    one = sign({}, owner=OWNER, key="k", now=NOW)
    two = sign({}, owner=OWNER, key="k", now=NOW + timedelta(seconds=1))
    assert one["msg"] != two["msg"]
    assert one["sig"] != two["sig"]
