"""Search APIs over HTTP: one client for all dialects; `dialects` has their keys, addresses and limits.

`WebEngine` alone asks once; `Reliable(WebEngine(...))` retries.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any

import httpx2

from innersearch.errors import SearchError, did_you_mean
from innersearch.net.addresses import check_url
from innersearch.net.calls import PermanentError
from innersearch.net.client import Connections
from innersearch.net.complaints import complaint, refusal, unanswered
from innersearch.net.fetching import fetch_json
from innersearch.net.keys import Key
from innersearch.search.base import SearchResult
from innersearch.search.remote.calls import once
from innersearch.search.remote.dialects import DIALECTS, Dialect, cut_query, read_answer, stated_cost
from innersearch.types import Source


class WebEngine:
    """A search API.

    Queries are put on one line and cut to the limits of the API, between words; at most
    `dialect.max_results` documents come back. An empty query fails without a call.

    Args:
        dialect: The API, or its name.
        base_url: Address to use instead of the public one: a proxy, or an own SearXNG.
        parameters: Sent with every request besides the dialect's own, for example `{"gl": "us"}`.
        client: To share connections; whoever gives it closes it.
        offline: Whether it is only replayed, and needs neither a key nor a client.
        silence_s: Longest silence of the server; whoever calls limits the whole call.

    Raises:
        SearchError: No such dialect, no key in the environment, or no usable address.
    """

    source = Source.WEB
    batch: int | None = 1

    def __init__(
        self,
        dialect: Dialect | str,
        *,
        base_url: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        client: httpx2.AsyncClient | None = None,
        offline: bool = False,
        silence_s: float = 30.0,
    ) -> None:
        self.dialect = _dialect(dialect)
        self.name: str = self.dialect.name
        self.price_usd: float = self.dialect.price.usd
        given = base_url or self.dialect.base_url
        if given is None:
            raise SearchError(
                f"{self.name} has no public address: write {self.name}:URL with that of your instance "
                "(in Python base_url)"
            )
        base = check_url(given, self.name)
        self._url = base.copy_with(path=base.path.rstrip("/") + self.dialect.path)
        self._fixed = {**self.dialect.fixed, **(parameters or {})}
        variable = self.dialect.key_variable
        self._key = Key(variable, self.name, needed=not offline) if variable else None
        self._connections = Connections(self._url, silence_s, shared=client, offline=offline)
        self.identity: Mapping[str, str | int | float | bool | None] = {
            "engine": self.name,
            "url": str(self._url),
            "parameters": json.dumps(self._fixed, sort_keys=True),
        }

    async def search(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        """One result per query, in order, without retries."""
        return await once(self, queries, k)

    async def ask(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        """One call for one query.

        Raises:
            TransientError: See `fetch_json`.
            TransientError: Or the API says with status 200 that something is wrong.
            PermanentError: See `fetch_json`; or the query is empty, or the answer cannot be read.
        """
        started = perf_counter()
        (query,) = queries
        line = cut_query(query, self.dialect.max_chars, self.dialect.max_words)
        if not line:
            raise PermanentError("the query is empty", reason="empty query", sent=False)
        request = self._request(line, k)
        answer = await fetch_json(
            self._connections.client,
            request,
            self.name,
            self._key,
            spent=self.dialect.spent,
            on_403=self.dialect.on_403,
            limited=self.dialect.limited,
        )
        return [replace(self._read(answer, k), latency_s=perf_counter() - started)]

    def _read(self, answer: Any, k: int) -> SearchResult:
        cost = stated_cost(self.dialect, answer)
        try:
            documents = tuple(read_answer(self.dialect, answer, k))
        except ValueError as error:
            self._refuse(answer)
            message = f"{self.name} sent an answer that cannot be read: {error}"
            raise PermanentError(message[:300], reason="malformed") from error
        if not documents:
            self._refuse(answer)
        blocked = unanswered(answer)
        partial = (
            f"some of the engines behind {self.name} did not answer: {blocked}; switch off in its "
            "settings those that never do, for results are none of the same engine's without them"
        )
        return SearchResult(documents, cost_usd=cost, partial=partial if blocked else None)

    def _refuse(self, answer: Any) -> None:
        """Raise what the API says about having nothing, if it says it, in place of results as well."""
        results = answer.get(self.dialect.rows[0]) if isinstance(answer, dict) else None
        for part in (answer, results, *(results[:1] if isinstance(results, list) else ())):
            if isinstance(part, dict) and (said := complaint(part)) is not None:
                raise refusal(said, self.name, self._key)

    async def close(self) -> None:
        """Close the connections."""
        await self._connections.close()

    def _request(self, line: str, k: int) -> httpx2.Request:
        dialect = self.dialect
        sent = {**self._fixed, dialect.query: line}
        if dialect.count is not None:
            sent[dialect.count] = max(1, min(k, dialect.max_results))
        headers = {"Accept": "application/json"}
        if self._key is not None and dialect.key_header is not None:
            headers[dialect.key_header] = dialect.key_prefix + self._key.read()
        elif self._key is not None:
            sent["api_key"] = self._key.read()
        if dialect.method == "GET":
            client = self._connections.client
            return client.build_request("GET", self._url, params=sent, headers=headers)
        return self._connections.request("POST", self._url, sent, headers)


def _dialect(given: Dialect | str) -> Dialect:
    if isinstance(given, Dialect):
        return given
    if given not in DIALECTS:
        raise SearchError(f"no search API {given!r}: {did_you_mean(given, DIALECTS)}")
    return DIALECTS[given]
