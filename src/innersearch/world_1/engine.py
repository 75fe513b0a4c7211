"""The embedded encyclopedia as an engine."""

from __future__ import annotations

from innersearch.search.base import Engine
from innersearch.search.kinds import EngineKind
from innersearch.world_1.bundled import BUNDLED_SEED, NAME
from innersearch.world_1.encyclopedia import Encyclopedia


def world_engine() -> Engine:
    """BM25 over the embedded encyclopedia; it corrects misspelled names, as web search does."""
    from innersearch.search.index.bm25 import BM25Engine, BM25Parameters

    documents = Encyclopedia.generate(BUNDLED_SEED).documents()
    return BM25Engine.from_documents(documents, BM25Parameters(spelling=True))


KIND = EngineKind(
    NAME, NAME, lambda name, opening: world_engine(), summary="the encyclopedia of the first world"
)
