"""Later: what lasts gets what it needs a moment later, and what does not last gets nothing."""

from threading import Event
from threading import enumerate as all_threads

from tests.waiting import wait_until
from worker.steps.later import Later

# In the second nothing is done by chance that is to be done before.
A_MOMENT, LONG = 0.05, 1.0


def test_it_is_begun_a_moment_later_and_cannot_be_called_off_then() -> None:
    later, begun = Later(LONG), Event()
    later.begin(begun.set)
    assert not begun.is_set()
    assert begun.wait(30)
    assert not later.call_off(begun.set)


def test_what_is_called_off_is_not_begun_and_the_others_are() -> None:
    later, one, other = Later(LONG), Event(), Event()
    later.begin(one.set)
    later.begin(other.set)
    assert later.call_off(one.set)
    assert not later.call_off(one.set)
    assert other.wait(30)
    assert not one.is_set()


def test_its_thread_ends_where_nothing_waits_and_comes_back() -> None:
    later = Later(A_MOMENT)
    for _ in range(2):
        begun = Event()
        later.begin(begun.set)
        assert begun.wait(30)
        wait_until(lambda: all(each.name != "later" for each in all_threads()))


def test_what_gets_no_thread_is_tried_again_and_holds_up_nothing() -> None:
    later, tries, other = Later(A_MOMENT), list[int](), Event()

    def begin() -> None:
        tries.append(1)
        if len(tries) == 1:
            raise RuntimeError("can't start new thread")

    later.begin(begin)
    later.begin(other.set)
    assert other.wait(30)
    wait_until(lambda: len(tries) > 1)
    assert not later.call_off(begin)
    assert len(tries) == 2
