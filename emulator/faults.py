"""Faults on demand: which rule strikes which request.

What a kind does on the wire stands in `gateway.py` for calls and in `slices.py` for files.
"""

import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from emulator.fault_kinds import CALLS, KINDS, is_count, is_share
from emulator.parameters import ID


@dataclass
class Rule:
    """One fault: where it strikes, how often, and what it does."""

    id: str
    call: str
    kind: str
    asset: str | None = None
    times: int | None = None
    skip: int = 0
    probability: float = 1.0
    parameters: dict[str, Any] = field(default_factory=dict)
    matched: int = 0
    fired: int = 0

    def covers(self, call: str, assets: Collection[str]) -> bool:
        """Tell whether the rule is about such a request."""
        return (
            self.call in ("*", call)
            and call in KINDS[self.kind].calls
            and (self.asset is None or self.asset in assets)
        )

    def spent(self) -> bool:
        """Tell whether the rule has struck as often as it was to."""
        return self.times is not None and self.fired >= self.times

    def shown(self) -> dict[str, Any]:
        """Return the rule as it was given, with its id and how often it matched and fired."""
        place = {"id": self.id, "call": self.call, "kind": self.kind, "asset": self.asset}
        limits = {"times": self.times, "skip": self.skip, "probability": self.probability}
        return place | limits | self.parameters | {"matched": self.matched, "fired": self.fired}


@dataclass(frozen=True)
class Strike:
    """What befalls one request: the delays add up, of the other kinds there is at most one."""

    delays: tuple[Rule, ...] = ()
    rule: Rule | None = None

    @property
    def kind(self) -> str | None:
        """The kind of the fault that is no delay, or None."""
        return self.rule.kind if self.rule else None

    def get(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - JSON of many types
        """Return a parameter of the fault that is no delay."""
        return self.rule.parameters.get(name, default) if self.rule else default

    def given(self) -> Collection[str]:
        """Return the names of the parameters that the fault was given."""
        return self.rule.parameters.keys() if self.rule else ()

    def delay_seconds(self, when: str) -> float:
        """Return how long to wait before or after the work."""
        every = (rule.parameters for rule in self.delays)
        return sum(float(each["seconds"]) for each in every if each.get("when", "before") == when)


class FaultRules:
    """All rules, oldest first; the oldest one that strikes wins.

    Args:
        seed: What the draws of rules with a probability start from.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._made = 0
        self._rules: dict[str, Rule] = {}
        self._chance: dict[str, random.Random] = {}

    def add(self, given: Mapping[str, Any]) -> Rule:
        """Add a rule.

        Raises:
            ValueError: A sentence that names the field that is wrong; nothing was added.
        """
        rule = _rule(str(self._made + 1), given)
        self._made += 1
        self._rules[rule.id] = rule
        self._chance[rule.id] = random.Random(f"{self._seed}/{rule.id}")
        return rule

    def strike(self, call: str, assets: Collection[str], without: Collection[str] = ()) -> Strike:
        """Draw what befalls a request; rules of the kinds in `without` are passed over unused."""
        delays: list[Rule] = []
        for rule in self._rules.values():
            if rule.kind in without or not rule.covers(call, assets) or not self._fires(rule):
                continue
            if rule.kind != "delay":
                return Strike(tuple(delays), rule)
            delays.append(rule)
        return Strike(tuple(delays))

    def _fires(self, rule: Rule) -> bool:
        if rule.spent():
            return False
        rule.matched += 1
        if rule.matched <= rule.skip:
            return False
        if rule.probability < 1 and self._chance[rule.id].random() >= rule.probability:
            return False
        rule.fired += 1
        return True

    def all(self) -> list[Rule]:
        """Return the rules, oldest first."""
        return list(self._rules.values())

    def remove(self, rule_id: str) -> bool:
        """Remove one rule, and tell whether it was there."""
        return self._rules.pop(rule_id, None) is not None

    def clear(self) -> None:
        """Remove all rules; ids are not used again."""
        self._rules.clear()


def _rule(rule_id: str, given: Mapping[str, Any]) -> Rule:
    parameters = dict(given)
    call, kind = parameters.pop("call", None), parameters.pop("kind", None)
    asset, times = parameters.pop("asset", None), parameters.pop("times", None)
    skip, probability = parameters.pop("skip", 0), parameters.pop("probability", 1.0)
    if not isinstance(call, str) or call not in CALLS | {"*"}:
        raise ValueError(f"call must be * or one of {', '.join(sorted(CALLS))}")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(sorted(KINDS))}")
    if call != "*" and call not in KINDS[kind].calls:
        raise ValueError(f"kind {kind} does not apply to call {call}")
    if asset is not None and not (isinstance(asset, str) and ID.fullmatch(asset)):
        raise ValueError("asset must be 32 hex digits")
    if times is not None and not (is_count(times) and times):
        raise ValueError("times must be a whole number above 0, or null")
    if not is_count(skip):
        raise ValueError("skip must be a whole number, 0 or more")
    if not is_share(probability):
        raise ValueError("probability must be a number from 0 to 1")
    KINDS[kind].check(parameters)
    return Rule(rule_id, call, kind, asset, times, skip, probability, parameters)
