"""Nearest vectors: exactly with numpy, or with faiss.

Both answer `nearest(queries, k)` with rows and inner products, each of shape (queries, min(k, rows)),
best first. Row -1 means that there was nothing more to find.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from innersearch.errors import ConfigError, SearchError, installing
from innersearch.search.index.encoders import Vectors

if TYPE_CHECKING:
    import faiss

Rows = NDArray[np.int64]

_PRODUCTS = 1 << 23
"""Inner products held at once: 32 MB."""
_BLOCK = 1 << 16
"""Vectors handed to faiss at once."""
HNSW_LINKS = 32
HNSW_BUILD, HNSW_SEARCH = 200, 128
"""Candidates kept while building and searching a graph; more are slower and find more."""


class Nearest(Protocol):
    """An index of vectors."""

    width: int
    rows: int

    def nearest(self, queries: Vectors, k: int) -> tuple[Rows, Vectors]:
        """Rows and inner products of the `k` nearest vectors."""


class Exact:
    """All vectors, compared one by one; the array may be memory-mapped."""

    def __init__(self, vectors: Vectors) -> None:
        """`vectors`: shape (rows, width), each of length 1."""
        self.rows, self.width = vectors.shape
        self._vectors = vectors

    def nearest(self, queries: Vectors, k: int) -> tuple[Rows, Vectors]:
        """Rows and inner products of the `k` nearest vectors; equal ones in order of their rows."""
        k = min(k, self.rows)
        rows = np.zeros((len(queries), 0), dtype=np.int64)
        scores = np.zeros((len(queries), 0), dtype=np.float32)
        block = max(1, _PRODUCTS // max(1, len(queries)))
        for start in range(0, self.rows, block):
            products = queries @ self._vectors[start : start + block].T
            here = _largest(products, k)
            rows = np.concatenate([rows, here + start], axis=1)
            scores = np.concatenate([scores, np.take_along_axis(products, here, axis=1)], axis=1)
            best = _largest(scores, k)
            rows = np.take_along_axis(rows, best, axis=1)
            scores = np.take_along_axis(scores, best, axis=1)
        order = np.lexsort((rows, -scores))
        return np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)


def _largest(values: Vectors, k: int) -> Rows:
    """Columns of the `k` largest values of each row, in no order."""
    k = min(k, values.shape[1])
    return np.argpartition(values, values.shape[1] - k, axis=1)[:, values.shape[1] - k :]


class Faiss:
    """A faiss index of any type, by inner product or by distance."""

    def __init__(self, index: faiss.Index) -> None:
        self.rows, self.width = index.ntotal, index.d
        self._index = index

    @classmethod
    def read(cls, file: Path) -> Faiss:
        """Read an index file, memory-mapped where its type allows it.

        Raises:
            SearchError: faiss is not installed, or cannot read the file.
        """
        faiss = _faiss()
        if not file.is_file():
            raise SearchError(f"no faiss index at {file}: give the index file")
        try:
            return cls(faiss.read_index(str(file), faiss.IO_FLAG_MMAP_IFC))
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise SearchError(f"faiss cannot read {file}: {reason}; fetch or build it again") from error

    def nearest(self, queries: Vectors, k: int) -> tuple[Rows, Vectors]:
        """Rows and inner products of the `k` nearest vectors; -1 where a graph found fewer."""
        faiss = _faiss()
        scores, rows = self._index.search(np.ascontiguousarray(queries), min(k, self.rows))
        if self._index.metric_type == faiss.METRIC_L2:
            # |a - b|² = 2 - 2ab for vectors of length 1.
            scores = (1 - scores / 2).astype(np.float32)
        return rows, scores


def build_faiss(vectors: Vectors, kind: str, file: Path) -> Iterator[int]:
    """Write a faiss index of `vectors` (rows, width) to `file`; yields how many rows are in.

    `kind` is `flat` (exact) or `hnsw` (a graph: much faster, now and then misses one).

    Raises:
        SearchError: faiss is not installed.
        ConfigError: The kind is unknown.
    """
    faiss = _faiss()
    width = vectors.shape[1]
    if kind == "flat":
        index = faiss.IndexFlatIP(width)
    elif kind == "hnsw":
        index = faiss.IndexHNSWFlat(width, HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction, index.hnsw.efSearch = HNSW_BUILD, HNSW_SEARCH
    else:
        raise ConfigError(f"no index kind {kind!r}: known: exact, flat, hnsw")
    for start in range(0, len(vectors), _BLOCK):
        index.add(np.ascontiguousarray(vectors[start : start + _BLOCK]))
        yield index.ntotal
    faiss.write_index(index, str(file))


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise SearchError(f"faiss is not installed: {installing('dense')}") from error
    return faiss
