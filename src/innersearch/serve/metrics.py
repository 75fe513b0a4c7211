"""`/metrics`: what a server did, in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from innersearch.search.base import SearchResult

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)


class Metrics:
    """Counters of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "innersearch_requests", "Requests.", ["route", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "innersearch_request_seconds",
            "Seconds per request, from its first byte to the last of the answer.",
            ["route"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._searches = Counter(
            "innersearch_searches", "Queries by what came of them.", ["outcome"], registry=self._registry
        )
        self._cost = Counter(
            "innersearch_search_usd", "Price of all searches, in US dollars.", registry=self._registry
        )

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count a request; status 0 for one that was not answered."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def searched(self, results: Sequence[SearchResult]) -> None:
        """Count queries."""
        for result in results:
            outcome = "failed" if result.error else "partial" if result.partial else "found"
            self._searches.labels(outcome if result.documents or result.error else "nothing").inc()
            self._cost.inc(max(0.0, result.cost_usd))

    def text(self) -> bytes:
        """All of them, as Prometheus reads it."""
        return generate_latest(self._registry)
