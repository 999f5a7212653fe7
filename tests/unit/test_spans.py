"""Spans: whatever comes in whatever order, each byte is there or lacking, and brought by one."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from worker.transfer.spans import Plan, Share, Spans

TOTAL = 60
BYTES = st.integers(0, TOTAL)


@given(st.lists(st.tuples(BYTES, BYTES).map(sorted).filter(lambda pair: pair[0] < pair[1])))
def test_spans_are_a_set_of_bytes(added: list[list[int]]) -> None:
    spans, bytes_there = Spans(), set[int]()
    for start, end in added:
        spans.add(start, end)
        bytes_there |= set(range(start, end))
    listed = list(spans)
    assert {byte for start, end in listed for byte in range(start, end)} == bytes_there
    assert all(end < following for (_, end), (following, _) in pairwise(listed))
    assert spans.size_bytes == len(bytes_there)
    prefix = next(byte for byte in range(TOTAL + 1) if byte not in bytes_there)
    assert spans.prefix_bytes == prefix
    gaps = {byte for start, end in spans.gaps(TOTAL) for byte in range(start, end or 0)}
    assert gaps == set(range(TOTAL)) - bytes_there
    assert set(spans.cut(30)) == set(Spans(listed).cut(30))
    assert {byte for start, end in spans.cut(30) for byte in range(start, end)} == {
        byte for byte in bytes_there if byte < 30
    }


def test_a_file_of_unknown_length_has_a_gap_without_an_end() -> None:
    assert list(Spans().gaps(None)) == [(0, None)]
    assert list(Spans([(0, 5), (7, 9)]).gaps(None)) == [(5, 7), (9, None)]
    assert list(Spans([(0, 5)]).gaps(5)) == []


@given(
    st.lists(st.tuples(BYTES, BYTES).map(sorted).filter(lambda pair: pair[0] < pair[1])),
    st.lists(
        st.tuples(
            st.sampled_from(["take", "flow", "move", "extend", "give back"]), st.integers(0, 30)
        )
    ),
)
def test_no_byte_is_brought_twice_or_by_nobody(
    there: list[list[int]], steps: list[tuple[str, int]]
) -> None:
    lacking = list(Spans(there).gaps(TOTAL))
    wanted = {byte for start, end in lacking for byte in range(start, end or 0)}
    plan, taken, brought = Plan(lacking), list[Share](), list[int]()
    for step, number in steps:
        if step == "take" and (share := plan.take(streams=1 + number % 5, least=2, most=9)):
            taken.append(share)
        elif taken and step == "flow":
            share = taken[number % len(taken)]
            plan.flows(share, number + (share.end or 0))
        elif taken and step == "extend":
            share = taken[number % len(taken)]
            if share.at == share.end:
                plan.extend(share)
        elif taken and step == "move":
            at, size = plan.move(taken[number % len(taken)], number)
            brought.extend(range(at, at + size))
        elif taken and step == "give back":
            plan.give_back(taken.pop(number % len(taken)))
    for share in taken:
        plan.give_back(share)
    while share := plan.take():
        at, size = plan.move(share, TOTAL)
        brought.extend(range(at, at + size))
        plan.give_back(share)
    assert plan.is_done
    assert sorted(brought) == sorted(wanted)


def test_the_largest_rest_is_halved_if_that_is_worth_it() -> None:
    plan = Plan([(0, 100)])
    first = plan.take(least=10)
    assert first is not None
    plan.move(first, 20)
    second = plan.take(least=10)
    assert second is not None
    assert [(each.at, each.end) for each in (first, second)] == [(20, 60), (60, 100)]
    assert plan.take(least=21) is None
    assert plan.move(first, 100) == (20, 40), "the rest is another's"


def test_several_bring_the_file_from_its_front_in_shares_that_get_smaller() -> None:
    plan, taken = Plan([(0, 1000)]), list[tuple[int, int | None]]()
    first = plan.take(streams=1, least=10)
    assert first is not None
    assert (first.at, first.end) == (0, 1000)
    for _ in range(4):
        share = plan.take(streams=5, least=10, most=200)
        assert share is not None
        taken.append((share.at, share.end))
    assert (first.at, first.end) == (0, 100)
    assert taken == [(100, 200), (200, 300), (300, 400), (400, 500)]
    plan.move(first, 100)
    plan.give_back(first)
    following = [
        plan.take(streams=5, least=10, most=60),
        plan.take(streams=5, least=10),
        plan.take(streams=1),
    ]
    spans = [(share.at, share.end) for share in following if share]
    assert spans == [(500, 560), (560, 650), (650, 1000)], "one brings all that is left"


def test_a_share_without_an_end_is_nobody_elses() -> None:
    plan = Plan([(0, None)])
    share = plan.take()
    assert share is not None
    assert plan.take(least=1) is None
    assert plan.move(share, 7) == (0, 7)
    assert not plan.is_done
    plan.end(share)
    plan.give_back(share)
    assert plan.is_done


def test_what_a_helper_could_not_bring_comes_to_whom_it_would_have_come_anyway() -> None:
    plan = Plan([(0, 100)])
    first = plan.take(least=10)
    assert first is not None
    plan.flows(first, 100)
    second = plan.take(least=10)
    assert second is not None
    assert first.end == 50
    plan.give_back(second)
    assert first.end == 100
    third, fourth = plan.take(least=10), plan.take(least=10)
    assert third is not None
    assert fourth is not None
    assert [first.end, third.at, third.end, fourth.at] == [25, 50, 100, 25]
    plan.move(first, 25)
    assert plan.extend(first), "nobody has answered to the one behind it"
    assert (first.at, first.end) == (25, 50)
    assert fourth.at == fourth.end
    plan.flows(third, 100)
    plan.move(first, 25)
    assert not plan.extend(first), "that comes to another"
