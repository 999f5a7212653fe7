"""Own: the collector of what a worker's processes counted, and of what its machine has."""

from collections.abc import Collection, Iterator
from itertools import accumulate

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from worker.settings import Settings
from worker.tally import BOUNDS, Tally, Totals
from worker.transfer.bounds import free_bytes


class Own(Collector):
    """Tells what the processes of one worker did since it started.

    Args:
        tally: where they count.
        settings: what the environment says.
        queues: the names of the queues that the worker serves.
    """

    def __init__(self, tally: Tally, settings: Settings, queues: Collection[str]) -> None:
        self._tally, self._settings, self._queues = tally, settings, sorted(queues)

    def collect(self) -> Iterator[Metric]:
        """Give the families."""
        serves = GaugeMetricFamily(
            "uplynk_export_worker_serves", "Queues that this worker serves.", labels=("queue",)
        )
        for queue in self._queues:
            serves.add_metric((queue,), 1.0)
        yield serves
        yield from _counted(self._tally.totals())
        yield from self._disk()

    def _disk(self) -> Iterator[Metric]:
        folder = self._settings.scratch_dir.absolute()
        there = next(each for each in (folder, *folder.parents) if each.is_dir())
        free = GaugeMetricFamily(
            "uplynk_export_scratch_free_bytes", "Bytes that are free under SCRATCH_DIR."
        )
        try:
            free.add_metric((), free_bytes(there))
        except OSError:  # it can't be told; downloads will say why
            return
        yield free
        yield GaugeMetricFamily(
            "uplynk_export_scratch_reserve_bytes",
            "Bytes that must stay free there: SCRATCH_RESERVE_BYTES.",
            value=self._settings.scratch_reserve_bytes,
        )


def _counted(totals: Totals) -> Iterator[Metric]:
    calls = CounterMetricFamily(
        "uplynk_export_calls",
        "Calls to Uplynk, each attempt, by how it ended.",
        labels=("call", "outcome"),
    )
    for end, number in totals.ends.items():
        calls.add_metric(end, number)
    yield calls
    seconds = HistogramMetricFamily(
        "uplynk_export_call_seconds", "How long calls to Uplynk took.", labels=("call",)
    )
    names = [*(f"{bound:g}" for bound in BOUNDS), "+Inf"]
    for call, within in totals.within.items():
        buckets = list(zip(names, accumulate(within), strict=True))
        seconds.add_metric((call,), buckets, totals.seconds[call])
    yield seconds
    yield CounterMetricFamily(
        "uplynk_export_downloaded_bytes", "Bytes of films that came.", value=totals.came_bytes
    )
