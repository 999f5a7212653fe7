"""Fleet: the collector of what SQL knows; a scrape waits for the database for seconds only."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from threading import Lock, Thread

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from worker.logs import get_logger
from worker.metrics.families import families
from worker.metrics.look import Look

# Who asks within this time is told what another has just been told.
FRESH_SECONDS = 2.0
# Prometheus waits ten seconds for an answer, unless it is told otherwise.
ANSWER_SECONDS = 5.0

_log = get_logger(__name__)


class Fleet(Collector):
    """Tells what a look at the database tells; or that there was none, and then nothing else.

    However many ask at once, one look at a time is taken. One that hangs is waited for no longer
    than `answer_seconds`, and no other is begun beside it.

    Args:
        look: looks at the database.
        fresh_seconds: for how long a look is good.
        answer_seconds: how long is waited for one.
    """

    def __init__(
        self,
        look: Callable[[], Look],
        *,
        fresh_seconds: float = FRESH_SECONDS,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._look = look
        self._fresh_seconds, self._answer_seconds = fresh_seconds, answer_seconds
        self._lock = Lock()
        self._taken: Future[tuple[Look, float]] | None = None
        self._begun = 0.0

    def collect(self) -> Iterator[Metric]:
        """Give the families."""
        try:
            look, seconds = self._one().result(self._answer_seconds)
        except SQLAlchemyError as error:
            said, *_ = f"{getattr(error, 'orig', None) or error}".strip().splitlines() or [""]
            _log.warning("database unavailable", message=said)
            yield _is_up(value=False)
            return
        except TimeoutError:
            _log.warning("database unavailable", message="it does not answer in time")
            yield _is_up(value=False)
            return
        yield _is_up(value=True)
        yield GaugeMetricFamily(
            "uplynk_export_database_seconds",
            "How long it took to ask the database for all of this.",
            value=seconds,
        )
        yield from families(look)

    def _one(self) -> Future[tuple[Look, float]]:
        """Return the look that is under way or still good, or else one that is begun now."""
        with self._lock:
            now, taken = time.monotonic(), self._taken
            if taken is None or (taken.done() and now - self._begun > self._fresh_seconds):
                taken = self._taken = Future()
                self._begun = now
                # a daemon: one that hangs keeps nobody from ending
                Thread(target=self._take, args=(taken,), name="look", daemon=True).start()
            return taken

    def _take(self, taken: Future[tuple[Look, float]]) -> None:
        begun = time.monotonic()
        try:
            look = self._look()
        except BaseException as error:  # noqa: BLE001  (for those who wait)
            taken.set_exception(error)
        else:
            taken.set_result((look, time.monotonic() - begun))


def _is_up(*, value: bool) -> Metric:
    return GaugeMetricFamily(
        "uplynk_export_database_up",
        "Whether the database answered; where it did not, nothing else is told.",
        value=float(value),
    )
