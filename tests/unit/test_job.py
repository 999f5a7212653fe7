"""Job: what Uplynk sent is read with distrust, and nothing it sends breaks the reader."""

import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.cloudslicer import Job, JobState
from worker.cloudslicer.job import Malformed

# The sample of Uplynk's documentation (Cloud Slicer API, "Job object").
SAMPLE: dict[str, Any] = {
    "id": "d0d05debde654249ae25b1c7f45a19fe",
    "state": "done",
    "asset": "a29a0bf647454d70bbb9b13d6896a108",
    "owner": "e" * 32,
    "args": {"export_mp4": True},
    "source": {},
    "attempts": 1,
    "last_error": "",
    "progress": "",
    "last_start": 1_500_000_000_000,
    "finished": 1_500_000_010_100,
    "hd_exported_url": "http://x.uplynk.com/slices/5409e4c0c71444849ac6e07743ff20bd_g.mp4",
}
MEMBERS = st.sampled_from([*SAMPLE, "anything"])

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=[])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(MEMBERS | st.text() | st.just("export_mp4"), inner, max_size=6)
    ),
    max_leaves=12,
)


def read(**members: Any) -> Job:
    return Job.read({**SAMPLE, **members})


def test_the_documented_job_is_read_whole() -> None:
    assert Job.read(SAMPLE) == Job(
        id="d0d05debde654249ae25b1c7f45a19fe",
        word="done",
        asset="a29a0bf647454d70bbb9b13d6896a108",
        is_export=True,
        started_at=datetime(2017, 7, 14, 2, 40, tzinfo=UTC),
        finished_at=datetime(2017, 7, 14, 2, 40, 10, 100_000, tzinfo=UTC),
        url="http://x.uplynk.com/slices/5409e4c0c71444849ac6e07743ff20bd_g.mp4",
    )


def test_an_id_and_a_state_are_enough() -> None:
    assert Job.read({"id": "a", "state": "waiting"}) == Job(id="a", word="waiting")


@pytest.mark.parametrize("state", [state for state in JobState if state is not JobState.UNKNOWN])
def test_a_documented_state_is_known(state: JobState) -> None:
    assert read(state=str(state)).state is state


@pytest.mark.parametrize("word", ["paused", "DONE", "done ", "?"])
def test_any_other_state_is_unknown_and_kept_in_uplynks_word(word: str) -> None:
    job = read(state=word)
    assert (job.state, job.word) == (JobState.UNKNOWN, word)


@pytest.mark.parametrize("data", [None, [], "job", 5, True])
def test_what_is_no_object_is_malformed(data: object) -> None:
    with pytest.raises(Malformed, match="no object"):
        Job.read(data)


@pytest.mark.parametrize("member", ["id", "state"])
@pytest.mark.parametrize(
    "value", [None, 5, "", "x" * 65, ["a"], {}, True, "a\0b", "a\nb", "\ud800", "\x1b[31m"]
)
def test_an_id_or_state_that_cannot_be_kept_is_malformed(member: str, value: object) -> None:
    with pytest.raises(Malformed, match=f"the job's {member} is no word"):
        read(**{member: value})


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, None),
        (0, False),
        (1, True),
        (True, True),
        (False, False),
        ("1", True),
        ("0", False),
        ("", False),
        ("False", False),
        ("true", True),
        ([], None),
        ({}, None),
        (1.0, None),
    ],
)
def test_aaclc_is_what_args_say(value: object, told: bool | None) -> None:
    assert read(args={"export_mp4": True, "aaclc": value}).aaclc is told


@pytest.mark.parametrize("arguments", [None, [], "export_mp4", {}, {"export_mp4": "0"}])
def test_a_job_without_the_argument_and_the_url_is_no_export(arguments: object) -> None:
    assert not read(args=arguments, hd_exported_url=None).is_export


def test_a_job_with_a_url_is_an_export_whatever_its_arguments() -> None:
    assert read(args={}).is_export


@pytest.mark.parametrize("url", [None, "", 5, ["http://x"], True, "http://x/\0", "x" * 8001])
def test_a_url_that_is_none_counts_as_not_given(url: object) -> None:
    assert read(hd_exported_url=url).url is None


@pytest.mark.parametrize(
    "value",
    [None, 0, -1, "1500000000000", True, [], 1e300, float("nan"), float("inf"), 10**400],
)
def test_a_time_that_is_none_counts_as_unset(value: object) -> None:
    job = read(last_start=value, finished=value)
    assert (job.started_at, job.finished_at) == (None, None)


def test_a_time_may_be_a_fraction() -> None:
    assert read(finished=1500.5).finished_at == datetime(1970, 1, 1, 0, 0, 1, 500_500, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (42, "42"),
        (0.5, "0.5"),
        (True, ""),
        ([], ""),
        ({"a": 1}, ""),
        ("a\0b", "ab"),
        ("half a pair \ud83d", "half a pair ?"),
        ("é\n", "é\n"),
        ("x" * 3000, "x" * 2000),
    ],
)
def test_free_text_is_what_a_database_can_keep(value: object, text: str) -> None:
    job = read(last_error=value, progress=value)
    assert (job.last_error, job.progress) == (text, text)


def test_deep_nesting_in_free_text_is_no_text() -> None:
    deep = json.loads("[" * 900 + "]" * 900)
    assert read(last_error=deep).last_error == ""


def keepable(text: str | None) -> bool:
    return text is None or (text.encode("utf-8").decode() == text and "\0" not in text)


@settings(deadline=None)
@given(data=json_values)
def test_no_json_breaks_the_reader(data: object) -> None:
    with suppress(Malformed):
        Job.read(data)


@settings(deadline=None)
@given(members=st.dictionaries(MEMBERS, json_values))
def test_what_is_read_of_a_spoilt_job_can_be_kept(members: dict[str, Any]) -> None:
    try:
        job = read(**members)
    except Malformed:
        return
    assert job.state in JobState
    assert all(map(keepable, [job.id, job.word, job.asset, job.url, job.last_error, job.progress]))
