"""`innersearch index`: an index of a corpus, for the engines bm25 and dense."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Literal

from cyclopts import App, CycloptsError

from innersearch.cli.console import stdout
from innersearch.cli.progress import Display
from innersearch.config.names import place

app = App(name="index", help_format="plaintext")


@app.default
def index(
    corpus: Path,
    output: Path | None = None,
    *,
    encoder: str = "",
    kind: Literal["exact", "flat", "hnsw"] | None = None,
    stemmer: str = "english",
    spelling: bool = False,
    verify: bool = False,
) -> None:
    """Make a BM25 index of a corpus, or a dense one with an encoder.

    An index that is already there is replaced once the new one is complete; a dense build that was
    interrupted goes on when it is run again. Examples:

        innersearch index wiki-18.jsonl runs/wiki
        innersearch index runs/world/encyclopedia.jsonl runs/encyclopedia --spelling
        innersearch index wiki-18.jsonl runs/wiki-e5 --encoder ~/models/e5-base-v2
        innersearch index runs/wiki --verify

    Args:
        corpus: Corpus: a file (.jsonl, .tsv, .parquet and more, also packed) or a directory of parts,
            with {id, contents} or {id, title, text} rows; with --verify an index.
        output: Directory that the index is written to.
        encoder: Encoder of a dense index: a model directory, or the address and model of an embeddings
            endpoint, URL#NAME.
        kind: Kind of a dense index: exact up to 200,000 documents, else faiss flat or hnsw.
        stemmer: Stemmer of a BM25 index: a Snowball language, or none.
        spelling: Correct query words that no document has, in a BM25 index.
        verify: Build nothing and compare every byte of an index with what was built.
    """
    if verify:
        _verify(corpus, output)
        return
    if output is None:
        raise CycloptsError(msg="give the directory of the index behind the corpus")
    from innersearch.search.index.corpus import read_corpus

    documents = read_corpus(corpus)
    with Display() as display:
        if encoder:
            from innersearch.search.index.dense import DenseEngine
            from innersearch.search.index.encoders import open_encoder

            opened = open_encoder(encoder)
            DenseEngine.build(documents, output, opened, kind=kind, progress=display.update)
        else:
            from innersearch.search.index.bm25 import BM25Engine, BM25Parameters

            chosen = None if stemmer == "none" else stemmer
            parameters = BM25Parameters(stemmer=chosen, spelling=spelling)
            BM25Engine.build(documents, output, parameters, progress=display.update)
    name = f"dense:{place(output)}@{place(encoder)}" if encoder else f"bm25:{place(output)}"
    stdout.print(f"index  {output}")
    stdout.print(f'next   innersearch search {shlex.quote(name)} "a query"')


def _verify(folder: Path, further: Path | None) -> None:
    from innersearch.search.index.store import verify

    if further is not None:
        raise CycloptsError(msg="--verify takes one index and no corpus")
    with Display() as display:
        compared, unknown = verify(folder, display.update)
    rest = f", of {unknown} only the sizes: an earlier version built it" if unknown else ""
    stdout.print(f"index  {folder}  is as it was built: {compared} files compared{rest}")
