"""Scraping: metrics as Prometheus reads them."""

from collections import Counter
from collections.abc import Iterable

import requests
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

SECONDS = 10.0  # as long as Prometheus waits


class Scraped:
    """What a scrape told."""

    def __init__(self, text: str) -> None:
        self._samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]

    @property
    def names(self) -> set[str]:
        """The names of all series, as a query has them."""
        return {f"uplynk_export_{self._short(sample.name)}" for sample in self._samples}

    def value(self, name: str, **labels: str) -> float:
        """Return the value of one series; it must be there."""
        found = [
            sample.value
            for sample in self._samples
            if self._short(sample.name) == name and sample.labels == labels
        ]
        assert len(found) == 1, (name, labels, found)
        return float(found[0])

    def by(self, name: str, *labels: str) -> Counter[str]:
        """Return the sums of the series of this name, by the values of these labels; no zeros."""
        found = Counter[str]()
        for sample in self._samples:
            if self._short(sample.name) == name and sample.value:
                found[" ".join(sample.labels[label] for label in labels)] += sample.value  # type: ignore[assignment]
        return found

    @staticmethod
    def _short(name: str) -> str:
        prefix, _, short = name.partition("uplynk_export_")
        assert not prefix, f"{name} is none of ours"
        return short


def scraped(url: str) -> Scraped:
    """Return what is told at this URL."""
    reply = requests.get(url, timeout=SECONDS, headers={"Connection": "close"})
    assert reply.status_code == 200, reply.text
    return Scraped(reply.text)


def told(*collectors: Collector) -> Scraped:
    """Return what these tell."""
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    return Scraped(generate_latest(registry).decode())


def summed(parts: Iterable[Counter[str]]) -> Counter[str]:
    """Return the sums over several scrapes."""
    return sum(parts, Counter[str]())
