"""`innersearch index`: an index of a corpus, for the engines bm25 and dense."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from cyclopts import App

from innersearch.cli.console import stdout
from innersearch.cli.progress import Display

app = App(name="index", help_format="plaintext")


@app.default
def index(
    corpus: Path,
    output: Path,
    *,
    encoder: str = "",
    kind: Literal["exact", "flat", "hnsw"] | None = None,
    stemmer: str = "english",
    spelling: bool = False,
) -> None:
    """Make a BM25 index of a corpus, or a dense one with an encoder.

    An index that is already there is replaced once the new one is complete; a dense build that was
    interrupted goes on when it is run again. Examples:

        innersearch index wiki-18.jsonl runs/wiki
        innersearch index runs/world/encyclopedia.jsonl runs/encyclopedia --spelling
        innersearch index wiki-18.jsonl runs/wiki-e5 --encoder ~/models/e5-base-v2

    Args:
        corpus: A .jsonl, .jsonl.gz or .parquet file with {id, contents} or {id, title, text} rows.
        output: Directory of the index.
        encoder: A model directory, or the address and model of an embeddings endpoint, URL#NAME.
        kind: Of a dense index: exact up to 200,000 documents, else faiss flat or hnsw.
        stemmer: Of a BM25 index: a Snowball language, or none.
        spelling: Of a BM25 index: correct query words that no document has.
    """
    from innersearch.search.corpus import read_corpus

    documents = read_corpus(corpus)
    with Display() as display:
        if encoder:
            from innersearch.search.dense import DenseEngine
            from innersearch.search.encoders import open_encoder

            opened = open_encoder(encoder)
            DenseEngine.build(documents, output, opened, kind=kind, progress=display.update)
        else:
            from innersearch.search.bm25 import BM25Engine, BM25Parameters

            chosen = None if stemmer == "none" else stemmer
            parameters = BM25Parameters(stemmer=chosen, spelling=spelling)
            BM25Engine.build(documents, output, parameters, progress=display.update)
    name = f"dense:{output}@{encoder}" if encoder else f"bm25:{output}"
    stdout.print(f"index  {output}")
    stdout.print(f'next   innersearch search {name} "a query"')
