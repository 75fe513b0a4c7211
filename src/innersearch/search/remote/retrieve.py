"""A retriever that runs elsewhere, asked through the `/retrieve` route of the Search-R1 family.

The request is `{"queries", "topk", "return_scores": true}`. Rows are understood as the servers of the
family send them: wrapped, `{"document": {...}, "score"}`, or bare; a document is a string, or has
`contents`, whose first line is the title, or `text` with an optional `title`. Servers that take one
query (`singular`) get `{"query", "topk", "top_k"}`, for SkyRL reads the one and ZeroSearch the other;
their answer is one list, nested or not. Our own server names queries that failed in `errors`. Facts:
Search-R1 retrieval_server.py and its five variants.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any

import httpx2

from innersearch.net.addresses import check_url
from innersearch.net.calls import PermanentError
from innersearch.net.client import Connections
from innersearch.net.complaints import complaint, refusal
from innersearch.net.fetching import fetch_json
from innersearch.net.keys import Key
from innersearch.search.base import SearchResult
from innersearch.search.index.corpus import title_and_text
from innersearch.search.remote.calls import once
from innersearch.search.remote.dialects import cut_query, document
from innersearch.types import Document, Source

MAX_QUERY = 10_000
"""Longest query that is sent, in characters."""
_EMPTY = "the query is empty"


class RemoteEngine:
    """A `/retrieve` server. Queries without words are not sent, and fail alone.

    Args:
        url: Address of the route; `/retrieve` is added to an address without a path.
        version: What the server has indexed, in the user's words; it becomes part of the identity,
            which an address alone does not decide.
        batch: Most queries of one request. A request fails as a whole.
        singular: Whether the server takes one query at a time.
        key_variable: Environment variable that holds a bearer token, if the server wants one.
        client: To share connections; whoever gives it closes it.
        offline: Whether it is only replayed, and needs neither a key nor a client.
        silence_s: Longest silence of the server; whoever calls limits the whole call.

    Raises:
        SearchError: The address is unusable, or the variable is not set.
    """

    source = Source.RETRIEVER
    price_usd = 0.0

    def __init__(
        self,
        url: str,
        *,
        name: str = "remote",
        version: str = "",
        batch: int = 64,
        singular: bool = False,
        key_variable: str | None = None,
        client: httpx2.AsyncClient | None = None,
        offline: bool = False,
        silence_s: float = 30.0,
    ) -> None:
        self.name = name
        self.batch: int | None = 1 if singular else batch
        address = check_url(url, name)
        self._url = address.copy_with(path="/retrieve") if address.path == "/" else address
        self._singular = singular
        self._key = Key(key_variable, name, needed=not offline) if key_variable else None
        self._connections = Connections(self._url, silence_s, shared=client, offline=offline)
        self.identity: Mapping[str, str | int | float | bool | None] = {
            "engine": "remote",
            "url": str(self._url),
            "version": version,
        }

    async def search(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        """One result per query, in order, without retries."""
        return await once(self, queries, k)

    async def ask(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        """One call for at most `batch` queries.

        Raises:
            TransientError: See `fetch_json`.
            PermanentError: See `fetch_json`; or the answer is not one list of documents per query.
        """
        started = perf_counter()
        lines = [cut_query(query, MAX_QUERY) for query in queries]
        asked = [line for line in lines if line]
        answered = iter(await self._ask(asked, k) if asked else ())
        latency = perf_counter() - started
        results = [next(answered) if line else SearchResult(error=_EMPTY) for line in lines]
        return [replace(result, latency_s=latency) for result in results]

    async def _ask(self, lines: Sequence[str], k: int) -> list[SearchResult]:
        headers = self._key.bearer() if self._key else {}
        client = self._connections.client
        request = self._connections.request("POST", self._url, self._request(lines, k), headers)
        answer = await fetch_json(client, request, self.name, self._key)
        said = complaint(answer) if isinstance(answer, dict) else None
        try:
            lists = self._lists(answer, len(lines))
        except ValueError as error:
            if said is not None:
                raise refusal(said, self.name, self._key) from error
            message = f"{self.name} sent an answer that cannot be read: {error}"
            raise PermanentError(message[:300], reason="malformed") from error
        failed = _failures(answer, len(lists))
        if said is not None and not any(lists) and not any(failed):
            raise refusal(said, self.name, self._key)
        return [
            SearchResult(error=f"{self.name} says: {why}") if why else self._result(rows, k)
            for rows, why in zip(lists, failed, strict=True)
        ]

    def _result(self, rows: list[Any], k: int) -> SearchResult:
        """The result of one query; a row without a text takes no other with it."""
        found: list[Document] = []
        bad = ""
        for row in rows[:k]:
            try:
                found.append(_document(row))
            except ValueError as error:
                bad = bad or f"{self.name} sent documents that cannot be read: {error}"
        if bad and not found:
            return SearchResult(error=bad[:300])
        return SearchResult(tuple(found), partial=bad[:300] or None)

    async def close(self) -> None:
        """Close the connections."""
        await self._connections.close()

    def _request(self, lines: Sequence[str], k: int) -> dict[str, Any]:
        if self._singular:
            return {"query": lines[0], "topk": k, "top_k": k, "return_scores": True}
        return {"queries": list(lines), "topk": k, "return_scores": True}

    def _lists(self, answer: Any, expected: int) -> list[list[Any]]:
        """The rows of each query; null where a query has none."""
        rows = answer.get("result") if isinstance(answer, dict) else answer
        if not isinstance(rows, list):
            raise ValueError("no list under 'result'")
        if self._singular and not (rows and isinstance(rows[0], list | None)):
            rows = [rows]
        if len(rows) != expected:
            raise ValueError(f"{len(rows)} lists for {expected} queries")
        if not all(isinstance(row, list | None) for row in rows):
            raise ValueError("the rows of a query are no list")
        return [row or [] for row in rows]


def _failures(answer: Any, expected: int) -> list[str]:
    """Why each query failed; empty where it did not, or where the server has no place for that."""
    errors = answer.get("errors") if isinstance(answer, dict) else None
    if not isinstance(errors, list) or len(errors) != expected:
        return [""] * expected
    return [" ".join(why.split())[:200] if isinstance(why, str) else "" for why in errors]


def _document(row: Any) -> Document:
    inner, score = row, None
    if isinstance(row, dict) and "document" in row:
        inner, score = row["document"], row.get("score")
    fields = {"contents": inner} if isinstance(inner, str) else inner
    if not isinstance(fields, dict):
        raise ValueError(f"a row is {type(row).__name__}, not a document")
    if not isinstance(name := fields.get("title"), str | None):
        # A novel is called 1984.
        fields = {**fields, "title": str(name) if type(name) is int and abs(name) < 10**6 else None}
    title, text = title_and_text(fields)
    url, given = fields.get("url"), fields.get("id")
    identity = url if given is None and isinstance(url, str) else given
    if identity is None:
        digest = hashlib.sha256(f"{title}\n{text}".encode("utf-8", "replace"))
        identity = digest.hexdigest()[:16]
    return document(str(identity), title, text, url if isinstance(url, str) else None, score)
