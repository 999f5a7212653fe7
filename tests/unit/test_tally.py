"""Tally: each process counts for itself, and nothing that was counted is ever lost."""

import re
from itertools import product
from pathlib import Path
from threading import Thread

import worker.cloudslicer.client
import worker.cloudslicer.reply
from worker.cloudslicer.client import CALLS
from worker.cloudslicer.reply import OK, OUTCOMES
from worker.tally import BOUNDS, Tally

GET = "jobs/get"


def source_of(module: object) -> str:
    return Path(str(vars(module)["__file__"])).read_text()


def test_every_call_of_the_client_has_its_place() -> None:
    source = source_of(worker.cloudslicer.client)
    made = set(re.findall(r'_call\("([\w/]+)"', source))
    made |= {f"jobs/{name}" for name in re.findall(r'_job\("(\w+)"', source)}
    assert made == set(CALLS)


def test_every_code_that_a_call_ends_with_has_its_place() -> None:
    codes = set(re.findall(r'"(uplynk_\w+)"', source_of(worker.cloudslicer.reply)))
    assert codes | {OK} == set(OUTCOMES)


def test_where_nothing_happened_everything_is_there_and_zero() -> None:
    totals = Tally().totals()
    assert totals.ends == dict.fromkeys(product(CALLS, OUTCOMES), 0)
    assert set(totals.within) == set(totals.seconds) == set(CALLS)
    assert totals.came_bytes == 0


def test_what_happened_is_counted_where_it_belongs() -> None:
    tally = Tally()
    tally.called(GET, OK, 0.05)
    tally.called(GET, OK, 0.06)
    tally.called(GET, "uplynk_busy", 31)
    tally.called("jobs/list", OK, 2)
    tally.called("jobs/unheard_of", OK, 1)
    tally.called(GET, "unheard_of", 1)
    tally.came(7)
    tally.came(8)
    totals = tally.totals()
    assert {end: number for end, number in totals.ends.items() if number} == {
        (GET, OK): 2,
        (GET, "uplynk_busy"): 1,
        ("jobs/list", OK): 1,
    }
    assert totals.within[GET] == [1, 1, *[0] * (len(BOUNDS) - 2), 1]
    assert totals.seconds[GET] == 0.05 + 0.06 + 31
    assert totals.came_bytes == 15


def test_each_has_a_file_of_its_own_and_the_totals_are_of_all(tmp_path: Path) -> None:
    tallies = [Tally(tmp_path) for _ in range(3)]
    for number, tally in enumerate(tallies):
        tally.came(10**number)
        tally.called(GET, OK, 1)
    assert len(list(tmp_path.iterdir())) == 3
    for tally in (*tallies, Tally(tmp_path)):
        assert tally.totals().came_bytes == 111
        assert tally.totals().ends[GET, OK] == 3


def test_what_a_dead_one_counted_stays_and_is_gone_on_with(tmp_path: Path) -> None:
    living, dead = Tally(tmp_path), Tally(tmp_path)
    living.came(1)
    dead.came(10)
    del dead
    assert living.totals().came_bytes == 11
    for _ in range(5):
        Tally(tmp_path).came(100)
    assert living.totals().came_bytes == 511
    assert len(list(tmp_path.iterdir())) == 2


def test_threads_that_count_at_once_lose_nothing(tmp_path: Path) -> None:
    tally = Tally(tmp_path)

    def count() -> None:
        for _ in range(1000):
            tally.came(1)

    threads = [Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tally.totals().came_bytes == 4000


def test_a_file_that_makes_no_sense_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "0.tally").write_bytes(b"")
    (tmp_path / "1.tally").write_bytes(b"short")
    tally = Tally(tmp_path)
    assert tally.totals().came_bytes == 0
    tally.came(3)
    assert tally.totals().came_bytes == 3


def test_a_folder_that_was_tidied_away_is_made_again(tmp_path: Path) -> None:
    tally = Tally(tmp_path / "gone")
    assert tally.totals().came_bytes == 0
    tally.came(3)
    assert tally.totals().came_bytes == 3


def test_that_nothing_can_be_written_costs_nobody_a_call(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    tally = Tally(tmp_path / "file")  # no folder, and none can be made
    tally.called(GET, OK, 1)
    tally.came(3)
    assert tally.totals().came_bytes == 0
    assert (tmp_path / "file").read_bytes() == b""


def test_what_a_worker_shares_is_gone_with_it() -> None:
    tally = Tally.shared()
    folder = tally._folder  # noqa: SLF001  (nobody else is to know it)
    assert folder is not None
    tally.came(1)
    assert len(list(folder.iterdir())) == 1
    del tally
    assert not folder.exists()
