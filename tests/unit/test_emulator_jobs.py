from typing import Any

import pytest

from emulator.jobs import Job, JobStore, Plan, described
from emulator.refusal import RefusedError

START = 1_800_000_000.0
HOURS_72 = 72 * 3600


def make_plan(**changes: Any) -> Plan:
    usual = {"wait_seconds": 5, "run_seconds": 10, "retry_wait_seconds": 2, "max_attempts": 3}
    return Plan(**(usual | changes))


def make_job(asset: str = "a" * 32, **changes: Any) -> Job:
    return Job(asset, START, make_plan(**changes))


@pytest.mark.parametrize(
    ("after_seconds", "state", "last_start", "finished"),
    [
        (0, "waiting", 0, 0),
        (4.9, "waiting", 0, 0),
        (5, "assigned", START + 5, 0),
        (14.9, "assigned", START + 5, 0),
        (15, "done", START + 5, START + 15),
        (1e6, "done", START + 5, START + 15),
    ],
)
def test_a_job_goes_its_way(
    after_seconds: float, state: str, last_start: float, finished: float
) -> None:
    moment = make_job().at(START + after_seconds)
    assert (moment.state, moment.last_start, moment.finished) == (state, last_start, finished)


def test_without_a_wait_the_first_answer_is_assigned() -> None:
    assert make_job(wait_seconds=0).at(START).state == "assigned"


@pytest.mark.parametrize(
    ("after_seconds", "state", "attempts"),
    [(14, "assigned", 0), (16, "waiting", 1), (17, "assigned", 1), (27, "done", 1)],
)
def test_a_failed_attempt_goes_back_to_waiting(
    after_seconds: float, state: str, attempts: int
) -> None:
    moment = make_job(fail_attempts=1).at(START + after_seconds)
    assert (moment.state, moment.attempts) == (state, attempts)


def test_after_the_last_attempt_the_job_is_an_error() -> None:
    job = make_job(fail_attempts=99, last_error="No such track")
    end = START + 5 + 3 * 10 + 2 * 2
    assert job.at(end - 0.1).state == "assigned"
    assert (job.at(end).state, job.at(end).attempts, job.at(end).finished) == ("error", 3, end)
    answer = shown(job, end)
    assert answer["last_error"] == "No such track"
    assert "hd_exported_url" not in answer


def test_a_job_that_takes_no_time_is_done_at_once() -> None:
    assert make_job(wait_seconds=0, run_seconds=0).at(START).state == "done"


def shown(job: Job, now: float, *, echo_aaclc: bool = True) -> dict[str, Any]:
    return described(
        job, now, owner="e" * 32, files_url="http://emulator:8900", echo_aaclc=echo_aaclc
    )


def test_the_job_object_is_as_documented() -> None:
    job = make_job(wait_seconds=0)
    assert shown(job, START) == {
        "id": job.id,
        "state": "assigned",
        "asset": "a" * 32,
        "owner": "e" * 32,
        "args": {"export_mp4": True},
        "source": {},
        "attempts": 0,
        "last_error": "",
        "progress": "",
        "last_start": int(START * 1000),
        "finished": 0,
    }


def test_the_url_comes_with_done() -> None:
    job = make_job()
    answer = shown(job, START + 15)
    assert answer["hd_exported_url"] == f"http://emulator:8900/slices/{job.slice_id}_g.mp4"
    assert answer["finished"] == int((START + 15) * 1000)


def test_aaclc_is_echoed_only_if_the_setting_says_so() -> None:
    job = Job("a" * 32, START, make_plan(), aaclc=True)
    assert shown(job, START)["args"] == {"export_mp4": True, "aaclc": 1}
    assert shown(job, START, echo_aaclc=False)["args"] == {"export_mp4": True}


def test_a_slicing_job_has_neither_the_flag_nor_a_url() -> None:
    answer = shown(Job("a" * 32, START, make_plan(), kind="slice"), START + 99)
    assert answer["state"] == "done"
    assert "export_mp4" not in answer["args"]
    assert "hd_exported_url" not in answer


def test_a_job_is_erased_72_hours_after_it_completed_and_still_on_record() -> None:
    store = JobStore()
    job = store.add(make_job())
    assert store.get(job.id, START + 15 + HOURS_72 - 1) is job
    with pytest.raises(RefusedError, match="Not found"):
        store.get(job.id, START + 15 + HOURS_72)
    assert store.page(START + 15 + HOURS_72, skip=0, limit=10, newest_first=True) == []
    assert store.ever() == [job]


def test_cancel_stops_a_job_where_it_is() -> None:
    store = JobStore()
    job = store.add(make_job())
    store.cancel(job, START + 7)
    moment = job.at(START + 99)
    assert (moment.state, moment.finished, moment.last_start) == ("cancelled", START + 7, START + 5)
    assert job.erased(START + 7 + HOURS_72)


@pytest.mark.parametrize("after_seconds", [15, 16])
def test_a_completed_job_cannot_be_cancelled(after_seconds: float) -> None:
    store = JobStore()
    job = store.add(make_job())
    with pytest.raises(RefusedError, match="can't be cancelled"):
        store.cancel(job, START + after_seconds)


def test_delete_says_what_became_of_each() -> None:
    store = JobStore()
    job = store.add(make_job())
    assert store.delete(job.id, START + 6) == "Job is assigned"
    assert store.delete("f" * 32, START) == "Not found"
    assert store.delete(job.id, START + 15) == "deleted"
    assert store.delete(job.id, START + 15) == "Not found"
    assert store.of_slice(job.slice_id) is job


def test_pages_run_from_either_end() -> None:
    store = JobStore()
    jobs = [store.add(make_job()) for _ in range(5)]
    assert store.page(START, skip=1, limit=2, newest_first=True) == [jobs[3], jobs[2]]
    assert store.page(START, skip=1, limit=2, newest_first=False) == [jobs[1], jobs[2]]
    assert store.page(START, skip=5, limit=2, newest_first=True) == []
