"""Dense retrieval: documents and queries as vectors of one space, the nearest documents first.

An index of up to 200,000 documents is compared exactly with numpy from a memory map; beyond that faiss
takes over, exactly (`flat`) or by a graph (`hnsw`). Encoding a large corpus takes hours or days, so a
build that was killed goes on where it was when it is run again with the same corpus and encoder.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

from innersearch.config.names import EngineName
from innersearch.errors import ConfigError, SearchError, did_you_mean
from innersearch.progress import Progress, silent
from innersearch.records import write_json
from innersearch.rows.files import directory
from innersearch.search.base import Engine, SearchResult
from innersearch.search.index import store
from innersearch.search.index.encoders import LATER, Encoder, ReportingEncoder, Vectors, open_encoder
from innersearch.search.index.merging import MergedCalls
from innersearch.search.index.nearest import Exact, Faiss, Nearest, build_faiss
from innersearch.search.kinds import EngineKind, Opening
from innersearch.stored import read_json
from innersearch.types import Document, Source

_log = logging.getLogger(__name__)
KINDS = ("exact", "flat", "hnsw")
EXACT_UP_TO = 200_000
"""Documents up to which an index is compared with numpy unless another kind is asked for."""

_VECTORS, _GRAPH, _PLAN = "vectors.npy", "index.faiss", "building.json"
_BLOCK = 1024
"""Documents that are encoded, written and then safe from a kill."""


class DenseEngine:
    """A local index of vectors as a search engine."""

    name: str = "dense"
    source: Source = Source.RETRIEVER

    def __init__(
        self,
        encoder: Encoder,
        index: Nearest,
        documents: Sequence[Document],
        identity: Mapping[str, store.Value],
    ) -> None:
        """As made by `build`, `open`, `from_documents` or `open_faiss`.

        Raises:
            SearchError: There are not as many vectors as documents.
        """
        if index.rows != len(documents):
            raise SearchError(
                f"the index holds {index.rows} vectors and the corpus {len(documents)} documents: "
                "give the corpus the index was built from"
            )
        self.identity = identity
        self._encoder = encoder
        self._index = index
        self._documents = documents
        self._merged = MergedCalls(self._batch)

    @classmethod
    def build(
        cls,
        documents: Iterable[Document],
        folder: Path,
        encoder: Encoder,
        *,
        kind: str | None = None,
        progress: Progress = silent,
    ) -> Self:
        """Encode documents into `folder`, in place of an index that is there, and open it.

        `kind` is `exact`, `flat` or `hnsw`; by default exact up to 200,000 documents, then flat. After a
        kill, the same call goes on behind the last whole block of 1,024 documents.

        Raises:
            SearchError: There are no documents, `folder` holds something that is no index, or the
                encoder failed.
            ConfigError: The kind is unknown.
        """
        if kind is not None and kind not in KINDS:
            raise ConfigError(f"no index kind {kind!r}: {did_you_mean(kind, KINDS)}")
        with store.building(folder, keep=(_VECTORS, _PLAN)) as part:
            written, sha256 = store.write_documents(documents, part, progress)
            _begin(part, {"documents_sha256": sha256, **encoder.identity})
            vectors = _encode(written, part / _VECTORS, encoder, progress)
            count = len(written)
            kind = kind or ("exact" if count <= EXACT_UP_TO else "flat")
            if kind != "exact":
                for done in build_faiss(vectors, kind, part / _GRAPH):
                    progress(kind, done, count)
            written.close()
            parameters = {"kind": kind, **encoder.identity}
            spent = [_PLAN] if kind == "exact" else [_PLAN, _VECTORS]
            store.write_settings(
                part,
                engine=cls.name,
                library=_library(kind),
                documents=count,
                sha256=sha256,
                parameters=parameters,
                leave_out=spent,
            )
        return cls.open(folder, encoder)

    @classmethod
    def open(cls, folder: Path, encoder: Encoder) -> Self:
        """Open an index with the encoder it was built with.

        Raises:
            SearchError: There is no index, it is damaged, or another encoder built it.
        """
        return store.opened(folder, cls.name, partial(cls._open, encoder))

    @classmethod
    def _open(cls, encoder: Encoder, folder: Path, settings: store.IndexSettings) -> Self:
        kind = settings.parameters.get("kind")
        built_with = {key: value for key, value in settings.parameters.items() if key != "kind"}
        later = {key: encoder.identity[key] for key in LATER if key in encoder.identity}
        built_with = later | built_with
        if built_with != dict(encoder.identity):
            differing = sorted(
                key
                for key in {*built_with, *encoder.identity}
                if built_with.get(key) != encoder.identity.get(key)
            )
            raise SearchError(
                f"the index {folder} was built with another encoder (differing in "
                f"{', '.join(differing)}): give that one, or build it again with `innersearch index`"
            )
        index: Nearest
        if kind == "exact":
            index = Exact(store.load_array(folder / _VECTORS))
        else:
            index = Faiss.read(folder / _GRAPH)
        return cls(encoder, index, store.open_documents(folder), settings.identity())

    @classmethod
    def from_documents(cls, documents: Iterable[Document], encoder: Encoder) -> Self:
        """Encode documents in memory.

        Raises:
            SearchError: There are no documents, or the encoder failed.
        """
        held = tuple(documents)
        if not held:
            raise SearchError("no documents were given to index")
        vectors = encoder.encode([passage(document) for document in held], "passage")
        sha256 = store.documents_sha256(held)
        parameters = {"kind": "exact", **encoder.identity}
        settings = store.IndexSettings(
            cls.name, _library("exact"), len(held), sha256, parameters, files={}
        )
        return cls(encoder, Exact(vectors), held, settings.identity())

    @classmethod
    def open_faiss(cls, index_file: Path, corpus_file: Path, encoder: Encoder) -> Self:
        """Open a faiss index and the JSON lines it was built from, as circulated for wiki-18.

        Vectors are found by their place: row n belongs to line n. Where lines start is found by reading
        the corpus once, and kept beside it.

        Raises:
            SearchError: A file is missing or damaged, or they do not belong together.
        """
        index = Faiss.read(index_file)
        documents = store.open_lines(corpus_file)
        identity: dict[str, store.Value] = {
            "engine": cls.name,
            "library": _library("flat"),
            "documents": len(documents),
            "index_file": index_file.name,
            "index_bytes": index_file.stat().st_size,
            "corpus_file": corpus_file.name,
            "corpus_bytes": corpus_file.stat().st_size,
            **encoder.identity,
        }
        return cls(encoder, index, documents, identity)

    @property
    def documents(self) -> Sequence[Document]:
        """The corpus, in its order."""
        return self._documents

    async def search(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        """One result per query with the `k` nearest documents; none for a blank query."""
        return await self._merged.search(queries, k)

    async def close(self) -> None:
        """Let go of the files."""
        if isinstance(self._documents, store.DocumentStore):
            self._documents.close()

    async def _batch(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        return await asyncio.to_thread(self._search, queries, k)

    def _search(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        asked = [query for query in queries if query.strip()]
        if not asked or k < 1:
            return [SearchResult()] * len(queries)
        try:
            found = iter(self._nearest(asked, k))
        except SearchError as error:
            found = iter([SearchResult(error=str(error))] * len(asked))
        return [next(found) if query.strip() else SearchResult() for query in queries]

    def _nearest(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        vectors = self._encoder.encode(queries, "query")
        if vectors.shape[1] != self._index.width:
            raise SearchError(
                f"the encoder gives vectors of width {vectors.shape[1]}, the index holds "
                f"{self._index.width}: give the encoder that the index was built with"
            )
        rows, scores = self._index.nearest(vectors, k)
        return [
            SearchResult(
                tuple(
                    replace(self._documents[int(row)], score=float(score))
                    for row, score in zip(*pair, strict=True)
                    if row >= 0
                )
            )
            for pair in zip(rows, scores, strict=True)
        ]


def published_faiss(folder: Path) -> tuple[Path, Path] | None:
    """The faiss index and the corpus in a directory that holds one of each, as they are published.

    None for an index that was built here, and where there is no faiss index.

    Raises:
        SearchError: There are several of one, or none of the other.
    """
    if (folder / store.SETTINGS).is_file() or not folder.is_dir():
        return None
    indexes = sorted(path for path in folder.iterdir() if path.suffix in (".index", ".faiss"))
    corpora = sorted(folder.glob("*.jsonl"))
    if not indexes:
        return None
    if len(indexes) > 1 or len(corpora) != 1:
        names = ", ".join(path.name for path in (*indexes, *corpora))
        raise SearchError(
            f"{folder} holds {names}: leave in it one faiss index and the one unpacked .jsonl corpus it "
            "was built from"
        )
    return indexes[0], corpora[0]


def passage(document: Document) -> str:
    """What is encoded of a document: title, newline, text."""
    return f"{document.title}\n{document.text}".strip()


def _begin(part: Path, plan: dict[str, Any]) -> None:
    """Throw away the vectors that another corpus or encoder left in `part`."""
    written = part / _PLAN
    if not written.is_file() or read_json(written) != plan:
        (part / _VECTORS).unlink(missing_ok=True)
        write_json(written, plan)


def _encode(documents: store.DocumentStore, file: Path, encoder: Encoder, progress: Progress) -> Vectors:
    """Append the vectors that `file` still lacks, block by block; all of them, memory-mapped."""
    done = _whole_rows(file, len(documents))
    progress("vectors", done, len(documents))
    while done < len(documents):
        texts = [passage(document) for document in documents[done : done + _BLOCK]]
        vectors = _vectors(encoder, documents, done, texts)
        shape = (len(documents), vectors.shape[1])
        if done and shape != _shape(file):
            raise SearchError(
                f"the encoder gives vectors of width {shape[1]} and gave others before: check that its "
                f"model is the same, or delete {file.parent} to begin again"
            )
        with file.open("ab") as handle:
            if not done:
                header = {"descr": "<f4", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(handle, header)
            handle.write(vectors.astype("<f4").tobytes())
            handle.flush()
            os.fsync(handle.fileno())
        done += len(texts)
        progress("vectors", done, len(documents))
    return store.load_array(file)


def _vectors(encoder: Encoder, documents: store.DocumentStore, begin: int, texts: list[str]) -> Vectors:
    """Vectors of the texts of documents from `begin` on; those that have none of their own are named."""
    if not isinstance(encoder, ReportingEncoder):
        return encoder.encode(texts, "passage")

    def report(number: int, what: str) -> None:
        row = begin + number
        _log.warning("document %.80r (row %d): %s", documents[row].id, row + 1, what)

    return encoder.encode_reporting(texts, "passage", report)


def _whole_rows(file: Path, rows: int) -> int:
    """Rows that are on disk; whatever follows the last whole one is cut off."""
    if not file.is_file():
        return 0
    with file.open("r+b") as handle:
        try:
            shape = _read_shape(handle)
        except ValueError:
            handle.truncate(0)
            return 0
        begin, row = handle.tell(), 4 * shape[1]
        done = min(rows, (file.stat().st_size - begin) // row) if shape[0] == rows else 0
        handle.truncate(begin + done * row if done else 0)
    return done


def _shape(file: Path) -> tuple[int, int]:
    with file.open("rb") as handle:
        return _read_shape(handle)


def _read_shape(handle: BinaryIO) -> tuple[int, int]:
    np.lib.format.read_magic(handle)
    (rows, width), _, _ = np.lib.format.read_array_header_1_0(handle)
    return rows, width


def _library(kind: str) -> str:
    if kind == "exact":
        return "numpy"
    try:
        return f"faiss {version('faiss-cpu')}"
    except PackageNotFoundError:
        return "faiss"


def _open(name: EngineName, opening: Opening) -> Engine:
    place, encoder = name.parts("@")
    if not encoder:
        raise ConfigError(f"engine {name.text} lacks its encoder: write dense:DIR@MODEL")
    calls = opening.calls(deadline_s=60.0, in_flight=8)
    opened = open_encoder(encoder, offline=opening.offline, calls=calls)
    folder = directory(place)
    published = published_faiss(folder)
    if published is not None:
        return DenseEngine.open_faiss(*published, opened)
    return DenseEngine.open(folder, opened)


KIND = EngineKind("dense", "dense:DIR@MODEL", _open, summary="vectors, over an index of your corpus")
