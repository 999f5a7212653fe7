"""Families: what a look at the database has to say, by the names that Prometheus knows it by."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from math import ceil
from typing import Any

from prometheus_client.core import GaugeMetricFamily as Gauge
from prometheus_client.core import Metric

from worker.metrics.look import Look

# So many codes are told of by name, the most frequent ones; the others are one, under OTHER.
MOST_CODES = 30
OTHER = "other"

QUANTILES = (0.5, 0.9, 1.0)


def families(look: Look) -> Iterator[Metric]:
    """Give each family of figures."""
    yield from _states(look)
    yield from _last_hour(look)
    yield from _window(look)
    yield from _notifications(look)


def _states(look: Look) -> Iterator[Metric]:
    under_way = look.standing.items()
    yield _by(
        "exports",
        "Exports that are in a state; those that have ended were counted up to a minute ago.",
        "state",
        {state: each.count for state, each in under_way} | dict(look.ended),
    )
    yield _by(
        "retrying_exports",
        "Exports in a state whose present step failed when it was last taken.",
        "state",
        {state: each.failing for state, each in under_way},
    )
    yield _by(
        "overdue_seconds",
        "For how long the step has been due that has been so for longest; 0 where none is due. That"
        " of a requester who is paused is not.",
        "state",
        {state: _age(each.due_at, look.at) for state, each in under_way},
    )
    yield _by(
        "oldest_seconds",
        "For how long the export has been in a state that has been so for longest.",
        "state",
        {state: _age(each.since, look.at) for state, each in under_way},
    )
    spent = Gauge(
        "uplynk_export_spent_seconds",
        "How long exports were in a state, of the last 200 that were stored in the last hour.",
        labels=("state", "quantile"),
    )
    for state, seconds in look.spent.items():
        for quantile in QUANTILES:
            spent.add_metric((state, f"{quantile:g}"), _quantile(seconds, quantile))
    yield spent


def _last_hour(look: Look) -> Iterator[Metric]:
    yield _one("stored_last_hour", "Exports whose film was stored in the last hour.", look.stored)
    yield _one("stored_last_hour_bytes", "Bytes of these films.", look.stored_bytes)
    most = sorted(look.failed.items(), key=lambda item: (-item[1], item[0]))
    failed = dict(islice(most, MOST_CODES))
    if rest := sum(number for _, number in most[MOST_CODES:]):
        failed[OTHER] = failed.get(OTHER, 0) + rest
    yield _by("failed_last_hour", "Exports that failed in the last hour, by code.", "code", failed)


def _window(look: Look) -> Iterator[Metric]:
    brought, rate = look.bringing
    yield _one("downloads_running", "Films that are being brought just now.", brought)
    yield _one("downloads_bytes_per_second", "How fast they come together.", rate)
    yield _one("window_taken", "Exports that are under way at Uplynk.", look.window.taken)
    yield _one(
        "window_size",
        "How many may be under way there now: fewer than the most where films wait to be brought.",
        look.window.size,
    )
    yield _one("window_most", "How many may be under way there at the most.", look.window.most)
    yield _one(
        "margin_seconds",
        "How long Uplynk keeps the job whose film is lacking for longest; 72 h where none is.",
        look.margin.total_seconds(),
    )
    yield _one(
        "circuit_open",
        "Whether Uplynk does not answer, so that one worker probes it and no other asks.",
        look.is_circuit_open,
    )
    yield _one("paused", "Whether nothing at all is asked of Uplynk.", look.is_all_paused)
    yield _one("paused_requesters", "Requesters who are paused.", len(look.paused))


def _notifications(look: Look) -> Iterator[Metric]:
    pending = look.pending
    yield _one("notifications_pending", "Notifications that are not delivered.", pending.count)
    yield _one(
        "notifications_oldest_seconds",
        "How old the oldest of these is; 0 where there is none.",
        _age(pending.since, look.at),
    )
    yield _one(
        "notifications_overdue_seconds",
        "For how long the one has been due that has been so for longest; 0 where none is due.",
        _age(look.pending_due_at, look.at),
    )
    yield _one("notifications_dead", "Notifications that were given up.", look.given_up)


def _one(name: str, text: str, value: float) -> Metric:
    return Gauge(f"uplynk_export_{name}", text, value=float(value))


def _by(name: str, text: str, label: str, values: Mapping[Any, float]) -> Metric:
    family = Gauge(f"uplynk_export_{name}", text, labels=(label,))
    for each, value in values.items():
        family.add_metric((str(each),), float(value))
    return family


def _age(since: datetime | None, at: datetime) -> float:
    return 0.0 if since is None else max((at - since).total_seconds(), 0.0)


def _quantile(values: Sequence[float], quantile: float) -> float:
    """Return the value that this part of all, which are in ascending order, do not exceed."""
    return values[max(ceil(quantile * len(values)) - 1, 0)]
