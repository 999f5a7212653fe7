from typing import Any

import pytest

from emulator.fault_kinds import API_CALLS, FILES, KINDS
from emulator.faults import FaultRules

ASSET = "a" * 32


def struck(rules: FaultRules, call: str = "jobs/get", *assets: str) -> str | None:
    return rules.strike(call, assets).kind


def test_a_rule_strikes_its_call_only() -> None:
    rules = FaultRules(0)
    rules.add({"call": "jobs/get", "kind": "empty"})
    assert struck(rules) == "empty"
    assert struck(rules, "jobs/list") is None


def test_a_rule_strikes_its_asset_only() -> None:
    rules = FaultRules(0)
    rules.add({"call": "jobs/get", "kind": "empty", "asset": ASSET})
    assert struck(rules, "jobs/get", "b" * 32) is None
    assert struck(rules, "jobs/get", "b" * 32, ASSET) == "empty"


def test_skip_then_times() -> None:
    rules = FaultRules(0)
    rule = rules.add({"call": "jobs/get", "kind": "html", "skip": 1, "times": 2})
    assert [struck(rules) for _ in range(4)] == [None, "html", "html", None]
    assert (rule.matched, rule.fired) == (3, 2)


def test_a_star_strikes_wherever_its_kind_applies() -> None:
    rules = FaultRules(0)
    rules.add({"call": "*", "kind": "truncate", "bytes": 5})
    assert struck(rules, "media") == "truncate"
    assert struck(rules, "jobs/get") is None


def test_the_oldest_rule_wins_and_the_next_takes_over_once_it_is_spent() -> None:
    rules = FaultRules(0)
    rules.add({"call": "jobs/get", "kind": "empty", "times": 1})
    rules.add({"call": "jobs/get", "kind": "html"})
    assert [struck(rules), struck(rules)] == ["empty", "html"]


def test_delays_add_up_with_another_fault() -> None:
    rules = FaultRules(0)
    rules.add({"call": "*", "kind": "delay", "seconds": 1})
    rules.add({"call": "jobs/get", "kind": "delay", "seconds": 0.5})
    rules.add({"call": "jobs/get", "kind": "delay", "seconds": 3, "when": "after"})
    rules.add({"call": "jobs/get", "kind": "empty"})
    strike = rules.strike("jobs/get", ())
    assert strike.delay_seconds("before") == 1.5
    assert strike.delay_seconds("after") == 3
    assert strike.kind == "empty"


def test_probability_is_drawn_from_the_seed() -> None:
    def draws(seed: int) -> list[str | None]:
        rules = FaultRules(seed)
        rules.add({"call": "jobs/get", "kind": "empty", "probability": 0.3})
        return [struck(rules) for _ in range(200)]

    assert draws(1) == draws(1)
    assert draws(1) != draws(2)
    assert 30 <= draws(1).count("empty") <= 90


def test_kinds_passed_over_are_not_used_up() -> None:
    rules = FaultRules(0)
    rules.add({"call": "media", "kind": "cut", "bytes": 5, "times": 1})
    assert rules.strike("media", (), without=("cut",)).kind is None
    assert struck(rules, "media") == "cut"


def test_a_rule_can_be_removed_and_ids_are_not_used_again() -> None:
    rules = FaultRules(0)
    first = rules.add({"call": "jobs/get", "kind": "empty"})
    assert rules.remove(first.id)
    assert not rules.remove(first.id)
    rules.clear()
    assert rules.add({"call": "jobs/get", "kind": "empty"}).id != first.id


@pytest.mark.parametrize(
    ("given", "field"),
    [({}, "call"), ({"call": []}, "call"), ({"call": "jobs/make"}, "call"), ({"call": "*"}, "kind"),
     ({"kind": "explode"}, "kind"), ({"kind": "truncate", "bytes": 1}, "kind truncate"),
     ({"kind": []}, "kind"), ({"kind": "empty", "asset": "x"}, "asset"),
     ({"kind": "empty", "times": 0}, "times"), ({"kind": "empty", "times": "1"}, "times"),
     ({"kind": "empty", "skip": -1}, "skip"), ({"kind": "empty", "probability": 2}, "probability"),
     ({"kind": "empty", "bytes": 5}, "bytes"), ({"kind": "delay"}, "seconds"),
     ({"kind": "delay", "seconds": -1}, "seconds"),
     ({"kind": "delay", "seconds": 1, "when": "never"}, "when"),
     ({"kind": "status", "status": 99}, "status"), ({"kind": "status", "status": 204}, "status"),
     ({"kind": "status", "status": 503, "retry_after": -1}, "retry_after"),
     ({"kind": "status", "status": 503, "body": "xml"}, "body"),
     ({"kind": "error", "code": 0}, "code"), ({"kind": "error", "msg": 1}, "msg"),
     ({"kind": "malformed"}, "member"), ({"kind": "wrong_state"}, "state"),
     ({"kind": "extra_members", "members": []}, "members")],
)  # fmt: skip
def test_a_bad_rule_is_refused_by_name(given: dict[str, Any], field: str) -> None:
    rules = FaultRules(0)
    base = {"call": "jobs/get"} if given and "call" not in given else {}
    with pytest.raises(ValueError, match=f"^{field}"):
        rules.add(base | given)
    assert rules.all() == []


def test_every_kind_applies_somewhere() -> None:
    assert all(kind.calls and kind.calls <= API_CALLS | FILES for kind in KINDS.values())
