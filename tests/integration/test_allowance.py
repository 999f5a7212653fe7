"""Allowance: all workers of an account together make no more calls than they may."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest
import redis
from limits.storage import MemoryStorage, Storage
from sqlalchemy.orm import Session, sessionmaker

from emulator.server import Emulator
from models import Export, State
from tests.factories import ACCOUNT, make_export, make_kit
from tests.waiting import wait_until
from worker.cloudslicer.allowance import (
    COMMON,
    MOST_HALVINGS,
    OWN,
    PATIENCE_SECONDS,
    Allowance,
    Kind,
    item,
    storage_at,
)
from worker.steps import poll, submit

BOTH = COMMON + OWN  # what one kind alone may use


@pytest.fixture(params=["shared", "alone"])
def storage(request: pytest.FixtureRequest, broker_url: str) -> Storage:
    # patient: on a busy machine a broker that is late is not away
    shared = storage_at(broker_url, seconds=30)
    assert shared is not None
    return shared if request.param == "shared" else MemoryStorage()


def taken(allowances: list[Allowance], kind: Kind, seconds: float) -> int:
    """Return how many turns several workers got together in a while, asking all the time."""
    end = time.monotonic() + seconds

    def take(allowance: Allowance) -> int:
        count = 0
        while time.monotonic() < end:
            count += allowance.take(kind) and time.monotonic() < end
        return count

    with ThreadPoolExecutor(len(allowances)) as threads:
        return sum(threads.map(take, allowances))


def test_workers_together_take_no_more_than_there_is(storage: Storage) -> None:
    workers = [Allowance(50, ACCOUNT, storage=storage) for _ in range(4)]
    # one window at once, and what comes in the time; nothing of what is the other kinds' own
    assert 30 <= taken(workers, Kind.POLL, 2.5) <= 50 * BOTH * 3.5


def test_polls_that_take_all_they_can_keep_no_submission_waiting(storage: Storage) -> None:
    polls = [Allowance(50, ACCOUNT, storage=storage) for _ in range(3)]
    with ThreadPoolExecutor(1) as threads:
        busy = threads.submit(taken, polls, Kind.POLL, 2.5)
        time.sleep(0.5)
        assert taken([Allowance(50, ACCOUNT, storage=storage)], Kind.SUBMIT, 1.5) >= 10
        assert busy.result() > 0


def test_accounts_have_each_their_own(storage: Storage) -> None:
    one, other = (Allowance(10, account, storage=storage) for account in ("a" * 32, "b" * 32))
    assert taken([one], Kind.OTHER, 0.2) > 0
    assert other.take(Kind.OTHER)


def test_where_uplynk_says_that_it_is_too_much_the_rate_is_halved_for_all(storage: Storage) -> None:
    one, other = (Allowance(64, ACCOUNT, storage=storage) for _ in range(2))
    one.slow_down()
    assert one.rate == 32
    for _ in range(9):  # answers to calls that were made before
        one.slow_down()
        other.slow_down()
    assert one.rate == 32

    def is_seen() -> bool:
        other.take(Kind.POLL)
        return other.rate == 32

    wait_until(is_seen, what="the other worker's being slower")


def test_the_rate_comes_back_step_by_step_and_has_a_floor(storage: Storage) -> None:
    allowance = Allowance(64, ACCOUNT, storage=storage)
    for _ in range(MOST_HALVINGS + 2):
        storage.clear(allowance.key("recently"))
        allowance.slow_down()
    assert allowance.rate == 64 / 2**MOST_HALVINGS
    lives = [storage.get_expiry(allowance.key(each)) for each in range(1, MOST_HALVINGS + 1)]
    assert lives == sorted(lives, reverse=True)  # the last one goes first
    gaps = {round(sooner - later) for sooner, later in pairwise(lives)}
    assert gaps == {60}
    assert round(lives[-1] - time.time()) in {59, 60}


def test_without_the_broker_each_process_counts_for_itself() -> None:
    allowance = Allowance(20, ACCOUNT, storage=storage_at("redis://127.0.0.1:1/0"))
    assert allowance.take(Kind.POLL)
    assert 5 <= taken([allowance], Kind.POLL, 1) <= 30
    allowance.slow_down()
    assert allowance.rate == 10


def test_a_broker_that_is_no_redis_counts_nothing() -> None:
    assert storage_at("amqp://127.0.0.1//") is None


def test_who_is_told_to_stop_waits_for_no_turn() -> None:
    allowance = Allowance(0.1, ACCOUNT, stopping=lambda: True)
    begun = time.monotonic()
    while allowance.take(Kind.POLL):
        pass
    for _ in range(20):
        assert not allowance.take(Kind.POLL)
    assert time.monotonic() - begun < 20 * PATIENCE_SECONDS / 2


@pytest.mark.parametrize("rate", [0.003, 0.02, 0.3, 0.8, 1.6, 3.99, 4, 7.5, 20, 400, 10_000])
def test_few_calls_a_second_are_counted_over_more_seconds(rate: float) -> None:
    limit = item(rate)
    assert limit.amount >= 4
    assert 0.74 * rate <= limit.amount / limit.get_expiry() <= rate


@pytest.mark.parametrize(("status", "is_slower"), [(429, True), (503, True), (500, False)])
def test_uplynks_answer_is_what_slows_down(
    sessions: sessionmaker[Session],
    tmp_path: Path,
    emulator: Emulator,
    status: int,
    *,
    is_slower: bool,
) -> None:
    kit = make_kit(sessions, tmp_path, emulator=emulator, uplynk_calls_per_second=100)
    make_export(sessions, state=State.REQUESTED)
    emulator.control.fault("jobs/create_export", "status", status=status, times=1)
    submit(kit)
    assert (kit.allowance.rate < 100) is is_slower


def test_steps_without_a_turn_leave_everything_as_it_was(
    sessions: sessionmaker[Session], tmp_path: Path, emulator: Emulator
) -> None:
    kit = make_kit(sessions, tmp_path, emulator=emulator, uplynk_calls_per_second=0.1)
    while kit.allowance.take(Kind.SUBMIT):
        pass
    while kit.allowance.take(Kind.POLL):
        pass
    waiting = make_export(sessions, state=State.REQUESTED)
    running = make_export(sessions, state=State.EXPORTING, job_id="j1")
    reports = submit(kit), poll(kit)
    assert all(wake.at is not None for report in reports for wake in report.wakes)
    assert Counter(emulator.control.calls()["calls"]) == Counter()
    with sessions.begin() as session:
        for export in (waiting, running):
            after = session.get_one(Export, export.id)
            assert (after.state, after.attempts, after.claim) == (export.state, 0, None)


def test_the_password_of_the_broker_is_in_no_log(capsys: pytest.CaptureFixture[str]) -> None:
    allowance = Allowance(20, ACCOUNT, storage=storage_at("redis://:hunter2@127.0.0.1:1/0"))
    allowance.take(Kind.POLL)
    said = capsys.readouterr()
    assert "counted by each process" in said.out + said.err
    assert "hunter2" not in said.out + said.err
    assert redis.ConnectionError.__name__ in said.out + said.err
