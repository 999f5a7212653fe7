"""Pure functions of time: when to look again, when to try again, when to give up."""

from datetime import UTC, datetime, timedelta
from random import Random

# A file that fails at once is tried again after about this long, and twice as long each time.
RETRY_FIRST = timedelta(seconds=2)
RETRY_LEAST = timedelta(seconds=1)
RETRY_CAP = timedelta(minutes=5)
# Whoever asks us to wait longer than this is waited for this long.
RETRY_AFTER_CAP = timedelta(hours=1)

# A webhook is tried again so long after each failure, as Standard Webhooks has it ("deliverability
# and reliability"), and then given up; up to a tenth later, so that not all come back at once.
WEBHOOK_AGAIN = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=10),
)
WEBHOOK_JITTER = 0.1

# Captions that could not be told are asked for again when their film has been stored for so long.
CAPTIONS_AGAIN = (
    timedelta(minutes=1),
    timedelta(minutes=10),
    timedelta(hours=1),
    timedelta(hours=6),
)

# Uplynk erases a job so long after it ended (uplynk-api: life cycle).
JOB_ERASED_AFTER = timedelta(hours=72)
# Jobs are taken off its list together that would be so at times no further apart.
DELETED_TOGETHER_PART = 0.1
DELETED_TOGETHER_MOST = timedelta(minutes=10)

# A look comes up to this part earlier than its time, so that exports made together drift apart.
# It is never later: the lag of detection is promised.
JITTER = 0.2

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def next_look(
    age: timedelta, *, ratio: float, least: timedelta, most: timedelta, random: Random | None
) -> timedelta:
    """Return how long to wait before a job of this age is looked at again.

    A part of its age, so that what is found late is late by that part of its duration at the
    most; never less than `least` nor more than `most`. With no `random` there is no jitter.
    """
    early = JITTER * random.random() if random is not None else 0
    wait = age * ratio * (1 - early)
    return min(max(wait, least), most)


def retry_delay(attempt: int, *, random: Random, retry_after: timedelta | None = None) -> timedelta:
    """Return how long to wait after the `attempt`-th failure in a row (the first is 1).

    Exponential, capped, with full jitter: anything from RETRY_LEAST up to the backoff, so that what
    failed together is spread over all of it, and nothing is retried at once. `retry_after`, up to a
    cap, is waited for in full, and that comes on top.
    """
    doublings = min(max(attempt, 1), 20) - 1
    backoff = min(RETRY_FIRST * (1 << doublings), RETRY_CAP)
    delay = RETRY_LEAST + (backoff - RETRY_LEAST) * random.random()
    if retry_after is None:
        return delay
    return min(max(retry_after, timedelta()), RETRY_AFTER_CAP) + delay


def webhook_again(
    attempts: int, *, random: Random, retry_after: timedelta | None = None
) -> timedelta | None:
    """Return how long to wait after the `attempts`-th try of a webhook; None: it is given up.

    `retry_after`, up to a cap, is waited for in full.
    """
    if attempts > len(WEBHOOK_AGAIN):
        return None
    wait = WEBHOOK_AGAIN[attempts - 1] * (1 + WEBHOOK_JITTER * random.random())
    return max(wait, min(retry_after or timedelta(), RETRY_AFTER_CAP))


def captions_again(since: datetime, *, now: datetime) -> datetime | None:
    """Return when to ask again for captions whose film is stored since then; None: not any more."""
    return next((since + age for age in CAPTIONS_AGAIN if since + age > now), None)


def delete_job_at(stored_at: datetime, *, after: timedelta, ended_at: datetime) -> datetime | None:
    """Return when to take a job off Uplynk's list whose file was stored; None: it goes by itself.

    That is `after` later, and up to a tenth of it more, ten minutes at the most: what is stored in
    that time goes in one call. A job that ended is erased by Uplynk after JOB_ERASED_AFTER.
    """
    step = max(min(after * DELETED_TOGETHER_PART, DELETED_TOGETHER_MOST), timedelta.resolution)
    at = stored_at + after
    at += (_EPOCH - at) % step
    return at if at < ended_at + JOB_ERASED_AFTER else None


def is_over(since: datetime | None, *, limit: timedelta, now: datetime) -> bool:
    """Return whether something that began at `since` (None: it has not) lasted its limit."""
    return since is not None and now - since >= limit
