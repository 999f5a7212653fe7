"""Shown: what Flower and a log are told of a message is short, and no secret."""

import pytest

from worker import shown

EXPORT = "6f1c2d3e-6a0b-4a58-9d7e-0d7f4b9a2c11"


def test_what_is_ours_is_told_in_so_many_words() -> None:
    assert shown.named({"export_id": EXPORT}) == f"{{'export_id': '{EXPORT}'}}"
    wish = {"asset": "a" * 32, "aaclc": False, "priority": 3, "requester": None}
    assert shown.named(wish) == repr(wish)
    assert shown.named({}) == "{}"
    assert shown.positional([]) == "()"


def test_of_what_is_a_senders_only_the_size_is_told() -> None:
    values = {"metadata": {"token": "s3cret"}, "tokens": ["s3cret"], "key": "s3cret", "n": 42}
    told = shown.named(values)
    assert told == "{'metadata': <dict of 1>, 'tokens': <list of 1>, 'key': <str of 6>, 'n': <int>}"
    assert shown.positional(["s3cret", 1]) == "(2 values)"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://cms.example/hook?key=s3cret", "https://cms.example"),
        ("https://user:s3cret@cms.example:8443/hook#s3cret", "https://cms.example:8443"),
        ("https://hooks.cms.example/services/T0/B0/s3cret", "https://hooks.cms.example"),
        ("https://[::1]:8443/hook", "https://[::1]:8443"),
        ("https://cms.example:s3cret/", "no URL"),
        ("s3cret?", "no URL"),
    ],
)
def test_of_a_webhook_its_place_is_told(url: str, told: str) -> None:
    assert shown.named({"webhook_url": url}) == f"{{'webhook_url': {told!r}}}"


def test_whatever_is_sent_it_is_told_in_less_than_two_kilobytes() -> None:
    values: dict[str, object] = dict.fromkeys(shown.TOLD, "x" * 70000)
    values |= {"y" * 1000 + str(number): "z" * 1000 for number in range(1000)}
    told = shown.named(values)
    assert len(told) < 2048
    assert told.endswith(f"and {len(values) - shown.MOST_NAMES} more}}")
