"""Endpoints that refuse, limit and forget: an index is built whatever single texts are like."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from innersearch.errors import SearchError
from innersearch.net.patience import CallSettings
from innersearch.records import write_json
from innersearch.search.index.dense import DenseEngine
from innersearch.search.index.embeddings import MAX_CHARS, RemoteEncoder
from innersearch.stored import read_json
from innersearch.types import Document
from tests.search_servers import Answer, Asked, LocalServer

FAST = CallSettings(backoff_s=0.001, backoff_max_s=0.002, probe_s=0.001, max_outage_s=0.5)


def embeddings(
    refuse: Callable[[str], bool] = lambda text: False, status: int = 400
) -> Callable[[Asked], Answer]:
    """An endpoint that refuses a request for one text of it, as all do."""

    def reply(asked: Asked) -> Answer:
        texts = asked.values["input"]
        if any(not text.strip() or refuse(text) for text in texts):
            return Answer({"error": "bad input"}, status)
        rows = [[1.0, len(text), text.count("a")] for text in texts]
        return Answer({"data": [{"index": i, "embedding": row} for i, row in enumerate(rows)]})

    return reply


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_huge_an_empty_and_a_poisonous_text_end_no_build_and_are_named(
    status: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    documents = [Document(f"d{n}", "", f"text {n} a") for n in range(50)]
    documents[7] = Document("huge", "", "b" * 220_000)
    documents[9] = Document("empty", " ", "\n")
    documents[30] = Document("poison", "", "poison")
    documents[31] = Document("half", "", "c" * 3_000)
    server = LocalServer(embeddings(lambda text: len(text) > 2_000 or "poison" in text, status))
    with server, caplog.at_level(logging.WARNING):
        encoder = RemoteEncoder(server.url, "m", batch=16, calls=FAST)
        engine = DenseEngine.build(documents, tmp_path / "ix", encoder)
        [result] = asyncio.run(engine.search(["text 3 a"], 60))
        encoder.close()
    assert all(text for asked in server.asked for text in asked.values["input"])
    assert max(len(text) for asked in server.asked for text in asked.values["input"]) == MAX_CHARS
    vectors = np.load(tmp_path / "ix" / "vectors.npy")
    assert [row for row in range(50) if not vectors[row].any()] == [9, 30]
    named = "\n".join(caplog.messages)
    for told in (
        "document 'huge' (row 8): the endpoint refused it; cut to 2,000 characters",
        "document 'empty' (row 10): it is blank",
        "document 'poison' (row 31): the endpoint refused it, and it will not be found",
        "document 'half' (row 32): the endpoint refused it; cut to 1,500 characters",
    ):
        assert told in named
    assert len(caplog.messages) == 4
    assert len(result.documents) == 50


def test_the_same_texts_are_cut_the_same_whatever_stands_beside_them() -> None:
    texts = ["b" * 9_000, "a" * 5_000, "aa", "", "c" * 2_500]
    with LocalServer(embeddings(lambda text: len(text) > 2_000)) as server:
        encoder = RemoteEncoder(server.url, "m", calls=FAST)
        together = encoder.encode(texts, "passage")
        alone = [encoder.encode([text], "passage")[0] for text in reversed(texts)]
        encoder.close()
    assert np.array_equal(together, np.stack(alone[::-1]))


def test_a_model_that_refuses_everything_is_an_error_and_no_index_of_zeros(tmp_path: Path) -> None:
    documents = [Document(str(n), "", f"text {n}") for n in range(40)]
    with LocalServer(embeddings(lambda text: True)) as server:
        encoder = RemoteEncoder(server.url, "wrong", calls=FAST)
        with pytest.raises(SearchError, match=r"HTTP 400.*\(model 'wrong'\)"):
            DenseEngine.build(documents, tmp_path / "ix", encoder)
        encoder.close()
        assert len(server.asked) <= 2


def test_a_build_outlasts_limits_and_outages() -> None:
    answers = iter([Answer({}, 429, {"Retry-After": "0.3"}), Answer({}, 429), *[Answer({}, 503)] * 8])
    good = embeddings()
    with LocalServer(lambda asked: next(answers, None) or good(asked)) as server:
        encoder = RemoteEncoder(server.url, "m", batch=1, calls=replace(FAST, max_outage_s=60.0))
        assert encoder.encode([f"t{n}" for n in range(20)], "passage").shape == (20, 3)
        encoder.close()


def test_the_cut_is_part_of_the_identity_and_older_indexes_open(tmp_path: Path) -> None:
    documents = [Document("1", "", "a"), Document("2", "", "aa")]
    with LocalServer(embeddings()) as server:
        encoder = RemoteEncoder(server.url, "m", calls=FAST)
        other = RemoteEncoder(server.url, "m", max_chars=100, calls=FAST)
        folder = tmp_path / "ix"
        asyncio.run(DenseEngine.build(documents, folder, encoder).close())
        with pytest.raises(SearchError, match="differing in max_chars"):
            DenseEngine.open(folder, other)
        settings = folder / "settings.json"
        older: dict[str, Any] = read_json(settings)
        del older["parameters"]["max_chars"]
        write_json(settings, older)
        asyncio.run(DenseEngine.open(folder, encoder).close())
        encoder.close()
        other.close()


@pytest.mark.parametrize(
    "body",
    [
        b'{"data": [{"index": 1e400, "embedding": [1]}]}',
        b'{"data": [{"index": 0, "embedding": [1' + b"0" * 400 + b"]}]}",
        b'{"data": [{"index": 0, "embedding": [[1]]}]}',
        b'{"data": [{"index": 0, "embedding": []}]}',
        b'{"data": {"index": 0}}',
        b'{"data": [{"index": null, "embedding": [1]}]}',
        b"[" * 100_000,
        b"null",
        b"1" * 5_000,
    ],
    ids=range(9),
)
def test_hostile_answers_are_errors_of_one_line(body: bytes) -> None:
    with LocalServer(lambda asked: Answer(body)) as server:
        encoder = RemoteEncoder(server.url, "m", calls=FAST)
        with pytest.raises(SearchError) as caught:
            encoder.encode(["a"], "query")
        encoder.close()
    assert "\n" not in str(caught.value)
