"""Several engines as one, by reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009).

A document scores the sum of 1 / (60 + rank) over the engines that found it, so the engines' own scores,
which cannot be compared, play no part.

A query fails only if every engine fails on it. If some do, the result is that of the others and says
what is missing and why (`SearchResult.partial`); how often each failed is counted in `failures`.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from innersearch.errors import ConfigError, SearchError
from innersearch.search.base import Engine, SearchResult
from innersearch.types import Document, Source

K0 = 60
"""Keeps the first few ranks from deciding alone; from the paper."""
DEPTH = 100
"""Documents that each engine is asked for, unless more are wanted: a document that two engines have at
rank 10 beats one that a single engine has at rank 1."""


class FusedEngine:
    """Asks several engines at once and fuses their rankings."""

    def __init__(self, engines: Sequence[Engine], *, depth: int = DEPTH) -> None:
        """Each engine is asked for `depth` documents, or for `k` if that is more.

        Raises:
            ConfigError: Fewer than two engines, or two of one name, or a depth below 1.
        """
        names = [engine.name for engine in engines]
        if len(engines) < 2 or len(set(names)) < len(names):
            raise ConfigError(f"fusion needs two or more engines of different names, given {names}")
        if depth < 1:
            raise ConfigError(f"fusion needs a depth of at least 1, given {depth}")
        self.name: str = "+".join(names)
        web = any(engine.source is Source.WEB for engine in engines)
        self.source: Source = Source.WEB if web else engines[0].source
        self.identity: Mapping[str, str | int | float | bool | None] = {
            "engine": "fused",
            "k0": K0,
            "depth": depth,
            **{f"{e.name}.{key}": value for e in engines for key, value in e.identity.items()},
        }
        self.failures: Counter[str] = Counter()
        """Queries that each engine failed on, by its name."""
        self._engines = tuple(engines)
        self._depth = depth

    async def search(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        """One result per query, in order, each with up to `k` documents."""
        started = time.perf_counter()
        depth = max(k, self._depth)
        of_engines = await asyncio.gather(*(_search(engine, queries, depth) for engine in self._engines))
        for engine, results in zip(self._engines, of_engines, strict=True):
            failed = sum(result.error is not None for result in results)
            if failed:
                self.failures[engine.name] += failed
        fused = [self._fuse(results, k) for results in zip(*of_engines, strict=True)]
        latency = time.perf_counter() - started
        return [replace(result, latency_s=latency) for result in fused]

    async def close(self) -> None:
        """Close every engine."""
        await asyncio.gather(*(engine.close() for engine in self._engines))

    def _fuse(self, results: Sequence[SearchResult], k: int) -> SearchResult:
        cost = sum(result.cost_usd for result in results)
        missing = "; ".join(
            f"{engine.name}: {result.error or result.partial}"
            for engine, result in zip(self._engines, results, strict=True)
            if result.error or result.partial
        )
        if all(result.error is not None for result in results):
            return SearchResult(error=missing, cost_usd=cost)
        rankings = [result.documents for result in results if result.error is None]
        return SearchResult(fuse(rankings)[: max(k, 0)], cost_usd=cost, partial=missing or None)


async def _search(engine: Engine, queries: Sequence[str], k: int) -> list[SearchResult]:
    """The results of one engine; one that gave up altogether takes nothing from the others."""
    try:
        return await engine.search(queries, k)
    except (SearchError, OSError) as error:
        return [SearchResult(error=str(error) or type(error).__name__)] * len(queries)


def fuse(rankings: Sequence[Sequence[Document]]) -> tuple[Document, ...]:
    """All documents of several rankings, best first, with the fused score.

    Documents of one id and one text are one; of one id and different texts, from different corpora, they
    stay apart. Equal scores keep the order of the first ranking that has them.

    >>> a, b, c = (Document(name, "", name) for name in "abc")
    >>> [document.id for document in fuse([[a, b], [b, c]])]
    ['b', 'a', 'c']
    """
    scores: dict[tuple[str, str], float] = {}
    documents: dict[tuple[str, str], Document] = {}
    for ranking in rankings:
        ranked = dict.fromkeys((document.id, document.text) for document in ranking)
        documents = {(document.id, document.text): document for document in ranking} | documents
        for rank, key in enumerate(ranked, 1):
            scores[key] = scores.get(key, 0.0) + 1 / (K0 + rank)
    best = sorted(scores, key=lambda key: -scores[key])
    return tuple(replace(documents[key], score=scores[key]) for key in best)
