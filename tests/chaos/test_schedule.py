"""The schedule: all of it follows from the seed, and each event can happen."""

import os
import subprocess
import sys
from collections import Counter
from random import Random

import pytest

from emulator.faults import FaultRules
from tests.chaos import schedule, wishes
from tests.chaos.events import EVENTS
from tests.chaos.fleet import FEW_POSTS, POSTS, Post
from tests.chaos.misbehaviour import MISBEHAVIOURS
from tests.chaos.wishes import Fate

SHOW = """
from tests.chaos import schedule, wishes
from tests.chaos.fleet import POSTS
print(schedule.draw(5, seconds=60, posts=POSTS), wishes.draw(5, count=50, seconds=60))
"""


def shown(hash_seed: str) -> str:
    """Return what another process draws from one seed."""
    return subprocess.run(
        [sys.executable, "-c", SHOW],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_the_same_seed_gives_the_same_storm_in_each_process() -> None:
    assert shown("1") == shown("2")


def test_another_seed_gives_another_storm() -> None:
    storms = [schedule.draw(seed, seconds=60, posts=POSTS) for seed in (1, 2)]
    asked = [wishes.draw(seed, count=50, seconds=60) for seed in (1, 2)]
    assert storms[0] != storms[1]
    assert asked[0] != asked[1]


@pytest.mark.parametrize("posts", [POSTS, FEW_POSTS], ids=["all", "few"])
def test_each_event_is_known_and_comes_in_the_storm(posts: tuple[Post, ...]) -> None:
    events = schedule.draw(3, seconds=120, posts=posts)
    by_name = {post.name: post for post in posts}
    assert {event.kind for event in events} == EVENTS.keys()
    assert all(0 <= event.at < 120 for event in events)
    assert [event.at for event in events] == sorted(event.at for event in events)
    for event in events:
        if event.kind == "kill_child":
            assert by_name[str(event.post)].pool == "prefork"


@pytest.mark.parametrize("name", schedule.FAMILIES)
def test_a_family_alone_deals_what_it_deals_among_all(name: str) -> None:
    kinds = schedule.FAMILIES[name].kinds
    among_all = schedule.draw(3, seconds=60, posts=POSTS)
    slow_lines, *alone = schedule.draw(3, seconds=60, posts=POSTS, families=[name])
    assert slow_lines in among_all
    assert alone
    assert alone == [e for e in among_all if e.kind in kinds and e != slow_lines]


def test_every_kind_of_event_is_dealt_by_some_family() -> None:
    dealt = Counter(kind for family in schedule.FAMILIES.values() for kind in family.kinds)
    assert dealt == Counter(EVENTS.keys())


@pytest.mark.parametrize(("call", "kind"), list(MISBEHAVIOURS))
def test_the_emulator_takes_each_misbehaviour(call: str, kind: str) -> None:
    rules, random = FaultRules(0), Random(0)
    for _ in range(20):
        rules.add({"call": call, "kind": kind, **MISBEHAVIOURS[call, kind](random)})


def test_wishes_are_of_all_fates_and_some_share_their_asset() -> None:
    asked = wishes.draw(1, count=200, seconds=60)
    assert len({wish.request_id for wish in asked}) == 200
    assert {wish.asset.fate for wish in asked} == set(Fate)
    by_codec = Counter((wish.asset.id, wish.aaclc) for wish in asked)
    by_asset = Counter(asset for asset, _ in by_codec)
    assert max(by_codec.values()) > 1  # wished for twice
    assert max(by_asset.values()) > 1  # in both codecs
    assert any(wish.again_at for wish in asked)
    assert all(0 <= wish.at < 60 for wish in asked)
