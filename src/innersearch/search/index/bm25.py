"""BM25 over a local corpus, by bm25s: the scores of every word in every document are computed once.

Choices, made for short factual queries:

* What a word is, in which script and language: see `words`. Stop words and one-letter words are indexed
  ("vitamin C"), but stop words are left out of a query that has other words: they would cost most of its
  time and hardly move a score. A query of nothing else keeps them: "It", "The The".
* Snowball stemming, k1 = 0.9 and b = 0.4, Lucene's formula: the defaults of Anserini and Pyserini, on
  which the published BM25 baselines of search agents rest.

Equal scores go in the order of the corpus, so numpy and numba give the same results.
"""

from __future__ import annotations

import asyncio
import os
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from innersearch.config.names import EngineName
from innersearch.errors import ConfigError, SearchError, did_you_mean, installing
from innersearch.progress import Progress, silent
from innersearch.rows.files import directory
from innersearch.search.base import Engine, SearchResult
from innersearch.search.index import store
from innersearch.search.index.correction import Corrections
from innersearch.search.index.merging import MergedCalls
from innersearch.search.index.words import VERSION, Words, is_pair, words_of
from innersearch.search.kinds import EngineKind, Opening
from innersearch.types import Document, Source

if TYPE_CHECKING:
    from bm25s import BM25

_NUMBA_FROM = 100_000
"""Documents from which numba is used: it compiles for 6 seconds, then takes a third of the time."""
_MIN_CHUNK = 16
"""Fewer queries than this are not worth a thread of their own."""
_REPORT_EVERY = 20_000


@dataclass(frozen=True, slots=True)
class BM25Parameters:
    """What decides the scores besides the documents."""

    stemmer: str | None = "english"
    """A Snowball algorithm, or None for words as they are."""
    k1: float = 0.9
    """How soon repeating a word stops counting."""
    b: float = 0.4
    """How much long documents are marked down, from 0 to 1."""
    spelling: bool = False
    """Whether query words that no document has are corrected; off in published baselines."""
    words: int = VERSION
    """Version of the rules by which texts are cut into words; an older index keeps its own."""


_PARAMETERS = TypeAdapter(BM25Parameters)


class BM25Engine:
    """A local BM25 index as a search engine."""

    name: str = "bm25"
    source: Source = Source.RETRIEVER

    def __init__(
        self, index: BM25, documents: Sequence[Document], settings: store.IndexSettings
    ) -> None:
        """As made by `build`, `open` or `from_documents`."""
        self.identity: Mapping[str, store.Value] = settings.identity()
        self._index = index
        self._documents = documents
        self._merged = MergedCalls(self._batch)
        given = _parameters(settings.parameters)
        self._words = words_of(given.stemmer, given.words)
        self._corrects = given.spelling

    @classmethod
    def build(
        cls,
        documents: Iterable[Document],
        folder: Path,
        parameters: BM25Parameters | None = None,
        *,
        progress: Progress = silent,
    ) -> Self:
        """Index documents into `folder`, in place of an index that is there, and open it.

        Needs about 40 bytes of memory per word of the corpus; the documents themselves are streamed.

        Raises:
            SearchError: There are no documents, or `folder` holds something that is no index.
            ConfigError: The stemmer is unknown.
        """
        parameters = parameters or BM25Parameters()
        with store.building(folder) as part:
            written, sha256 = store.write_documents(documents, part, progress)
            _index(written, parameters, progress).save(part, show_progress=False)
            written.close()
            store.write_settings(
                part,
                engine=cls.name,
                library=_library(),
                documents=len(written),
                sha256=sha256,
                parameters=asdict(parameters),
            )
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path, *, backend: str | None = None) -> Self:
        """Open an index; its scores and documents are memory-mapped, its words are read.

        `backend` is numba or numpy; by default numba from 100,000 documents on, where it is installed.
        Its first search takes about 6 seconds, for compiling.

        Raises:
            SearchError: There is no index, or it is damaged.
            ConfigError: The backend is unknown or not installed.
        """
        return store.opened(folder, cls.name, partial(cls._open, backend))

    @classmethod
    def _open(cls, backend: str | None, folder: Path, settings: store.IndexSettings) -> Self:
        import bm25s

        backend = _backend(settings.documents, backend)
        try:
            index = bm25s.BM25.load(folder, mmap=True, backend=backend)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise store.broken(folder, f"bm25s cannot read it ({error})") from error
        if index.scores["num_docs"] != settings.documents:
            raise store.broken(folder, "its scores belong to another number of documents")
        try:
            return cls(index, store.open_documents(folder), settings)
        except (ValidationError, ConfigError) as error:
            what = f"its parameters {settings.parameters} are not known here"
            raise store.broken(folder, what) from error

    @classmethod
    def from_documents(
        cls,
        documents: Iterable[Document],
        parameters: BM25Parameters | None = None,
        *,
        backend: str | None = None,
    ) -> Self:
        """Index documents in memory; `backend` as for `open`.

        Raises:
            SearchError: There are no documents.
            ConfigError: The stemmer is unknown.
        """
        held = tuple(documents)
        if not held:
            raise SearchError("no documents were given to index")
        parameters = parameters or BM25Parameters()
        index = _index(held, parameters, silent)
        index.backend = _backend(len(held), backend)
        sha256 = store.documents_sha256(held)
        settings = store.IndexSettings(
            cls.name, _library(), len(held), sha256, asdict(parameters), files={}
        )
        return cls(index, held, settings)

    @property
    def documents(self) -> Sequence[Document]:
        """The corpus, in its order."""
        return self._documents

    async def search(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        """One result per query with up to `k` documents that share a word with it, best first."""
        return await self._merged.search(queries, k)

    async def close(self) -> None:
        """Let go of the files."""
        if isinstance(self._documents, store.DocumentStore):
            self._documents.close()

    async def _batch(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        size = max(_MIN_CHUNK, -(-len(queries) // (os.cpu_count() or 1)))
        chunks = [queries[start : start + size] for start in range(0, len(queries), size)]
        parts = await asyncio.gather(*(asyncio.to_thread(self._search, chunk, k) for chunk in chunks))
        return [result for part in parts for result in part]

    def _search(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        try:
            return [
                SearchResult(tuple(replace(self._documents[row], score=score) for row, score in found))
                for found in self._ranked([self._known_words(query) for query in queries], k)
            ]
        except SearchError as error:
            return [SearchResult(error=str(error))] * len(queries)

    def _known_words(self, query: str) -> list[int]:
        """Indices of the query's words in the vocabulary, repetitions included."""
        vocabulary = self._index.vocab_dict
        words = self._words.of_query(query)
        if self._corrects:
            words = [word if word in vocabulary else self._corrected(word) for word in words]
        return [vocabulary[word] for word in words if word in vocabulary]

    def _corrected(self, word: str) -> str:
        return word if is_pair(word) else self._corrections.nearest(word) or word

    @cached_property
    def _corrections(self) -> Corrections:
        return Corrections(self._index.vocab_dict)

    def _ranked(self, queries: list[list[int]], k: int) -> list[list[tuple[int, float]]]:
        """Rows and scores, best first, rows of equal score in order; no row scores 0."""
        asked = [words for words in queries if words]
        k = min(k, len(self._documents))
        if not asked or k < 1:
            return [[] for _ in queries]
        # One more than wanted shows whether a tie is cut in two, and bm25s raises beyond the corpus.
        wanted = min(k + 1, len(self._documents))
        rows, scores = self._index.retrieve(asked, k=wanted, show_progress=False)
        found = iter(zip(asked, rows, scores, strict=True))
        return [self._best(*next(found), k) if words else [] for words in queries]

    def _best(
        self, words: list[int], rows: NDArray[np.int32], scores: NDArray[np.float32], k: int
    ) -> list[tuple[int, float]]:
        if len(scores) > k and scores[k] == scores[k - 1] > 0:
            every = self._index.get_scores_from_ids(words)
            above, equal = np.flatnonzero(every > scores[k]), np.flatnonzero(every == scores[k])
            rows = np.concatenate([above, equal[: k - len(above)]])
            scores = every[rows]
        order = np.lexsort((rows, -scores))[:k]
        return [(int(rows[i]), float(scores[i])) for i in order if scores[i] > 0]


def _parameters(recorded: Mapping[str, store.Value]) -> BM25Parameters:
    """Those of an index; one that was built before there was a parameter has its default."""
    later = sorted(set(recorded) - set(BM25Parameters.__slots__))
    if later:
        raise ConfigError(f"the parameters {', '.join(later)} are those of a later version")
    return _PARAMETERS.validate_python({"words": 1} | dict(recorded))


class _Vocabulary(dict[str, int]):
    """Written words to indices of stems; a new word is learnt when it is looked up."""

    def __init__(self, words: Words) -> None:
        super().__init__()
        self._term = words.term
        # Keeps a corpus without a single word indexable.
        self.stems: dict[str, int] = {"": 0}

    def __missing__(self, word: str) -> int:
        stem = self._term(word)
        self[word] = self.stems.setdefault(stem, len(self.stems))
        return self[word]


def _index(documents: Sequence[Document], parameters: BM25Parameters, progress: Progress) -> BM25:
    import bm25s
    from bm25s.tokenization import Tokenized

    words = words_of(parameters.stemmer, parameters.words)
    vocabulary = _Vocabulary(words)
    corpus, total = [], len(documents)
    for count, document in enumerate(documents, 1):
        found = words.of_text(f"{document.title}\n{document.text}")
        # Four bytes per word, where a list of integers takes eight.
        corpus.append(array("i", map(vocabulary.__getitem__, found)))
        if count % _REPORT_EVERY == 0 or count == total:
            progress("words", count, total)
    index = bm25s.BM25(k1=parameters.k1, b=parameters.b, method="lucene", backend="numpy")
    if _backend(total, None) == "numba":
        index.activate_numba_csc()
    tokens = Tokenized(ids=corpus, vocab=vocabulary.stems)
    progress("scores", 0, 1)
    # Where no document has a word, the mean length is 0.
    with np.errstate(invalid="ignore"):
        index.index(tokens, show_progress=False, create_empty_token=False)
    progress("scores", 1, 1)
    return index


def _backend(documents: int, chosen: str | None) -> str:
    installed = find_spec("numba") is not None
    if chosen is None:
        return "numba" if installed and documents >= _NUMBA_FROM else "numpy"
    if chosen not in ("numba", "numpy"):
        raise ConfigError(f"no backend {chosen!r}: {did_you_mean(chosen, ('numba', 'numpy'))}")
    if chosen == "numba" and not installed:
        raise ConfigError(f"the backend numba is not installed: {installing('fast')}")
    return chosen


def _library() -> str:
    return f"bm25s {version('bm25s')}"


def _open(name: EngineName, opening: Opening) -> Engine:
    return BM25Engine.open(directory(name.place))


KIND = EngineKind("bm25", "bm25:DIR", _open, summary="words, over an index of your corpus")
