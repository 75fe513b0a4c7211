"""Texts to vectors by an endpoint of the OpenAI form: POST `/v1/embeddings` with `{"model", "input"}`.

Endpoints refuse texts that are empty or too long, and one of those must not end a build of hours: texts
are cut at a length that belongs to the identity, a refused text is halved until it is taken, and one
that is blank or never taken gets a vector of zeros, which no query finds. Each is reported.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from innersearch.errors import SearchError
from innersearch.net.addresses import check_url, place
from innersearch.net.caller import Caller
from innersearch.net.calls import CallError, PermanentError
from innersearch.net.client import Connections
from innersearch.net.fetching import fetch_json
from innersearch.net.keys import Key
from innersearch.net.patience import CallSettings
from innersearch.net.threads import LoopThread
from innersearch.search.index.encoders import Report, TextKind, Vectors, convention_of, of_length_one

KEY_VARIABLE = "INNERSEARCH_EMBEDDINGS_KEY"
"""The environment variable with the key of an embeddings endpoint, if it wants one."""
MAX_CHARS = 8_000
"""Longest text in characters: some 2,000 tokens of English, and more of most other languages."""

CALLS = CallSettings(deadline_s=60.0, in_flight=8)
"""How patiently an endpoint is called."""

_REFUSED = ("http 400", "http 413", "http 422")
"""Reasons that may hold for one text."""
_SHORTEST = 200
"""Characters below which a refused text is not halved again."""
_LONGEST_ANSWER = 200_000_000
_WORKS = "a"
"""What any endpoint can encode."""

_log = logging.getLogger(__name__)


class RemoteEncoder:
    """An embeddings endpoint, called as patiently as any engine over the network.

    The key, if one is wanted, is read from the environment variable INNERSEARCH_EMBEDDINGS_KEY.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        query_prefix: str | None = None,
        passage_prefix: str | None = None,
        batch: int = 64,
        max_chars: int = MAX_CHARS,
        calls: CallSettings = CALLS,
        offline: bool = False,
    ) -> None:
        """`url` is a host, a base such as `…/v1`, or the full address; texts go out `batch` at a time,
        and are cut at `max_chars` characters, prefix included.

        Raises:
            SearchError: The address or the key cannot be used.
        """
        check_url(url, "the embeddings endpoint")
        self._url = check_url(_embeddings_url(url), "the embeddings endpoint")
        self._name = f"the embeddings endpoint {place(self._url)}"
        self._model = model
        known = convention_of(model)
        self._prefixes: dict[TextKind, str] = {
            "query": known.query_prefix if query_prefix is None else query_prefix,
            "passage": known.passage_prefix if passage_prefix is None else passage_prefix,
        }
        self._batch, self._max_chars = batch, max_chars
        self._key = None if offline else Key.if_set(KEY_VARIABLE, self._name)
        self._connections = Connections(self._url, calls.deadline_s, offline=offline)
        self._caller = Caller(self._name, calls)
        self._thread = LoopThread()
        self._width = 0
        self.identity: Mapping[str, str | int | float | bool | None] = {
            "encoder": "remote",
            "model": model,
            "query_prefix": self._prefixes["query"],
            "passage_prefix": self._prefixes["passage"],
            "max_chars": max_chars,
        }

    def encode(self, texts: Sequence[str], kind: TextKind) -> Vectors:
        """Vectors of shape (texts, width), each of length 1, or 0 for a text that cannot be encoded.

        Raises:
            SearchError: The endpoint cannot be reached, refuses, or answers something else.
        """

        def report(number: int, what: str) -> None:
            _log.warning("text %d, %.60r: %s", number + 1, texts[number], what)

        return self.encode_reporting(texts, kind, report)

    def encode_reporting(self, texts: Sequence[str], kind: TextKind, report: Report) -> Vectors:
        """As `encode`; `report` is told of each text that was refused or is blank."""
        if not texts:
            return np.zeros((0, self._width), dtype=np.float32)
        prefix = self._prefixes[kind]
        cut = [(prefix + text)[: self._max_chars].encode("utf-8", "replace").decode() for text in texts]
        return of_length_one(self._thread.run(self._all(cut, report)))

    def close(self) -> None:
        """Close the connections."""
        self._thread.run(self._connections.close())
        self._thread.close()

    async def _all(self, texts: list[str], report: Report) -> Vectors:
        rows: list[Vectors | None] = [None] * len(texts)
        asked = [number for number, text in enumerate(texts) if text.strip()]
        parts = [asked[start : start + self._batch] for start in range(0, len(asked), self._batch)]
        tasks = [asyncio.create_task(self._part(part, texts, rows, report)) for part in parts]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        for number in {*range(len(texts))} - {*asked}:
            report(number, "it is blank, and will not be found")
        if not self._width:
            self._learn(await self._ask([_WORKS]))
        return np.stack([np.zeros(self._width, np.float32) if row is None else row for row in rows])

    async def _part(
        self, part: list[int], texts: list[str], rows: list[Vectors | None], report: Report
    ) -> None:
        """Fill `rows` with the vectors of a part, in smaller ones if it is refused."""
        try:
            vectors = self._learn(await self._ask([texts[number] for number in part]))
        except PermanentError as error:
            if error.reason not in _REFUSED:
                raise
            await self._demand_works(error)
            if len(part) > 1:
                middle = len(part) // 2
                await self._part(part[:middle], texts, rows, report)
                await self._part(part[middle:], texts, rows, report)
            else:
                rows[part[0]] = await self._shortened(part[0], texts[part[0]], report)
            return
        for number, vector in zip(part, vectors, strict=True):
            rows[number] = vector

    async def _shortened(self, number: int, text: str, report: Report) -> Vectors | None:
        """The vector of the beginning of a refused text, as much as is taken."""
        while len(text) > _SHORTEST:
            text = text[: len(text) // 2]
            try:
                [vector] = self._learn(await self._ask([text]))
            except PermanentError as error:
                if error.reason not in _REFUSED:
                    raise
            else:
                report(number, f"the endpoint refused it; cut to {len(text):,} characters")
                return np.asarray(vector)
        report(number, "the endpoint refused it, and it will not be found")
        return None

    async def _demand_works(self, refusal: PermanentError) -> None:
        """Whether it is the text that was refused, and not every one, a wrong model for example."""
        if not self._width:
            try:
                self._learn(await self._ask([_WORKS]))
            except PermanentError:
                raise refusal from None

    def _learn(self, vectors: Vectors) -> Vectors:
        """The same; all have one width."""
        if self._width and vectors.shape[1] != self._width:
            raise SearchError(f"{self._name} gave vectors of several widths for {self._model!r}")
        self._width = vectors.shape[1]
        return vectors

    async def _ask(self, texts: list[str]) -> Vectors:
        try:
            return await self._caller.call(lambda: self._once(texts))
        except CallError as error:
            error.args = (f"{error} (model {self._model!r})",)
            raise

    async def _once(self, texts: list[str]) -> Vectors:
        body = {"model": self._model, "input": texts, "encoding_format": "float"}
        headers = self._key.bearer() if self._key else {}
        request = self._connections.request("POST", self._url, body, headers)
        answer = await fetch_json(
            self._connections.client,
            request,
            self._name,
            self._key,
            most=_LONGEST_ANSWER,
            deadline_s=self._caller.settings.deadline_s,
        )
        return _vectors_of(answer, len(texts), self._name)


def _embeddings_url(url: str) -> str:
    url = url.rstrip("/")
    if url.endswith("/embeddings"):
        return url
    return f"{url}/embeddings" if url.count("/") > 2 else f"{url}/v1/embeddings"


def _vectors_of(answer: Any, count: int, name: str) -> Vectors:
    try:
        items = sorted(answer["data"], key=lambda item: int(item["index"]))
        vectors = np.asarray([item["embedding"] for item in items], dtype=np.float32)
    except (ValueError, KeyError, TypeError, OverflowError):
        raise PermanentError(f"{name} gave no embeddings", reason="malformed") from None
    if vectors.ndim != 2 or len(vectors) != count or not vectors.shape[1]:
        raise PermanentError(
            f"{name} gave {len(items)} embeddings for {count} texts", reason="malformed"
        )
    return vectors
