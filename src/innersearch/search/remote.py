"""A retriever that runs elsewhere, asked through the `/retrieve` route of the Search-R1 family.

The request is `{"queries", "topk", "return_scores": true}`. Rows are understood as the servers of the
family send them: wrapped, `{"document": {...}, "score"}`, or bare; a document is a string, or has
`contents`, whose first line is the title, or `text` with an optional `title`. Servers that take one
query (`singular`) get `{"query", "topk", "top_k"}`, for SkyRL reads the one and ZeroSearch the other;
their answer is one list, nested or not. Facts: Search-R1 retrieval_server.py and its five variants.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any

import httpx2

from innersearch.net.addresses import check_url
from innersearch.net.calls import PermanentError
from innersearch.net.client import Connections
from innersearch.net.fetching import fetch_json
from innersearch.net.keys import Key
from innersearch.search.base import SearchResult
from innersearch.search.calls import once
from innersearch.search.dialects import cut_query, document
from innersearch.types import Document, Source

MAX_QUERY = 10_000
"""Longest query that is sent, in characters."""


class RemoteEngine:
    """A `/retrieve` server.

    Args:
        url: Address of the route; `/retrieve` is added to an address without a path.
        version: What the server has indexed, in the user's words; it becomes part of the identity,
            which an address alone does not decide.
        batch: Most queries of one request. A request fails as a whole.
        singular: Whether the server takes one query at a time.
        key_variable: Environment variable that holds a bearer token, if the server wants one.
        client: To share connections; whoever gives it closes it.
        offline: Whether it is only replayed, and needs neither a key nor a client.

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
    ) -> None:
        self.name = name
        self.batch: int | None = 1 if singular else batch
        address = check_url(url, name)
        self._url = address.copy_with(path="/retrieve") if address.path == "/" else address
        self._singular = singular
        self._key = Key(key_variable, name, needed=not offline) if key_variable else None
        self._connections = Connections(self._url, shared=client, offline=offline)
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
        headers = self._key.bearer() if self._key else {}
        client = self._connections.client
        request = client.build_request(
            "POST", self._url, json=self._request(queries, k), headers=headers
        )
        answer = await fetch_json(client, request, self.name, self._key)
        try:
            lists = self._lists(answer, len(queries))
            found = [tuple(_document(row) for row in rows[:k]) for rows in lists]
        except ValueError as error:
            message = f"{self.name} sent an answer that cannot be read: {error}"
            raise PermanentError(message, reason="malformed") from error
        latency = perf_counter() - started
        return [SearchResult(documents, latency_s=latency) for documents in found]

    async def close(self) -> None:
        """Close the connections."""
        await self._connections.close()

    def _request(self, queries: Sequence[str], k: int) -> dict[str, Any]:
        lines = [cut_query(query, MAX_QUERY) for query in queries]
        if self._singular:
            return {"query": lines[0], "topk": k, "top_k": k, "return_scores": True}
        return {"queries": lines, "topk": k, "return_scores": True}

    def _lists(self, answer: Any, expected: int) -> list[list[Any]]:
        rows = answer.get("result") if isinstance(answer, dict) else answer
        if not isinstance(rows, list):
            raise ValueError("no list under 'result'")
        if self._singular and not (rows and isinstance(rows[0], list)):
            rows = [rows]
        if len(rows) != expected:
            raise ValueError(f"{len(rows)} lists for {expected} queries")
        if not all(isinstance(row, list) for row in rows):
            raise ValueError("the rows of a query are no list")
        return rows


def _document(row: Any) -> Document:
    inner, score = row, None
    if isinstance(row, dict) and "document" in row:
        inner, score = row["document"], row.get("score")
    fields = {"contents": inner} if isinstance(inner, str) else inner
    if not isinstance(fields, dict):
        raise ValueError(f"a row is {type(row).__name__}, not a document")
    title, text = _title_and_text(fields)
    url, given = fields.get("url"), fields.get("id")
    identity = url if given is None and isinstance(url, str) else given
    if identity is None:
        digest = hashlib.sha256(f"{title}\n{text}".encode("utf-8", "replace"))
        identity = digest.hexdigest()[:16]
    return document(str(identity), title, text, url if isinstance(url, str) else None, score)


def _title_and_text(fields: Mapping[str, Any]) -> tuple[str, str]:
    title, text, contents = fields.get("title"), fields.get("text"), fields.get("contents")
    if isinstance(text, str):
        return (title if isinstance(title, str) else ""), text
    if not isinstance(contents, str):
        raise ValueError(f"a document has neither 'contents' nor 'text', but {sorted(map(str, fields))}")
    first, newline, rest = contents.partition("\n")
    return (first.strip().strip('"'), rest) if newline else ("", contents)
