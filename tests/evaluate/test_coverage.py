from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from innersearch.cli import main
from innersearch.errors import RunError, SearchError
from innersearch.evaluate.coverage import coverage
from innersearch.search.base import SearchResult
from innersearch.stored import read_json, read_lines
from innersearch.types import Document, Question, Source
from tests.cli.test_cli import fails

pytestmark = pytest.mark.usefixtures("in_empty_folder")


class Pages:
    """Finds 20 documents, of which the one of the rank that the question names holds its answer."""

    name, source = "pages", Source.RETRIEVER

    def __init__(self, down: Sequence[str] = ()) -> None:
        self.identity = {"engine": "pages"}
        self.down, self.asked = set(down), []

    async def search(self, queries: Sequence[str], k: int) -> list[SearchResult]:
        self.asked += queries
        return [self._page(query, k) for query in queries]

    def _page(self, query: str, k: int) -> SearchResult:
        if query in self.down:
            return SearchResult(error="no route to host")
        rank = int(query.split()[-1])
        texts = [f"About {n}." + " Here is Kaney!" * (n == rank) for n in range(1, k + 1)]
        return SearchResult(tuple(Document(str(n), "Title", text) for n, text in enumerate(texts)))

    async def close(self) -> None:
        pass


def asked(count: int) -> list[Question]:
    """Question n finds its answer at rank n; those above the last k never do."""
    return [
        Question(str(n), f"Who stands at {n}", ("kaney",), {"group": "odd" if n % 2 else "even"})
        for n in range(1, count + 1)
    ]


def test_shares_per_k_and_group() -> None:
    summary = coverage(asked(150), Pages(), [3, 10, 20], Path("out"))
    shares = {
        k: {group: (entry["value"], entry["n"]) for group, entry in groups.items()}
        for k, groups in summary["coverage"].items()
    }
    assert shares == {
        "3": {"odd": (2 / 75, 75), "even": (1 / 75, 75), "all": (3 / 150, 150)},
        "10": {"odd": (5 / 75, 75), "even": (5 / 75, 75), "all": (10 / 150, 150)},
        "20": {"odd": (10 / 75, 75), "even": (10 / 75, 75), "all": (20 / 150, 150)},
    }
    ranks = {record["id"]: record["rank"] for record in read_lines(Path("out/coverage.jsonl"))}
    assert ranks == {str(n): n if n <= 20 else None for n in range(1, 151)}
    assert summary["coverage"]["3"]["all"]["low"] < 3 / 150 < summary["coverage"]["3"]["all"]["high"]


def test_failed_searches_are_asked_again_and_nothing_else_is() -> None:
    questions = asked(150)
    first = Pages(down=[questions[5].question, questions[140].question])
    with pytest.raises(SearchError, match=r"2 of 150 searches failed .*--resume"):
        coverage(questions, first, [3], Path("out"))
    assert not Path("out/summary.json").exists()
    second = Pages()
    summary = coverage(questions, second, [3], Path("out"), resume=True)
    assert second.asked == [questions[5].question, questions[140].question]
    assert summary["coverage"]["3"]["all"]["n"] == 150


def test_a_killed_audit_goes_on() -> None:
    class Interrupt(Exception):
        pass

    def stop(what: str, done: int, total: int, note: str = "") -> None:
        if done == 128:
            raise Interrupt

    with pytest.raises(Interrupt):
        coverage(asked(150), Pages(), [3], Path("out"), progress=stop)
    with Path("out/coverage.jsonl").open("a") as file:
        file.write('{"id": "torn')
    engine = Pages()
    summary = coverage(asked(150), engine, [3], Path("out"), resume=True)
    assert len(engine.asked) == 150 - 128
    assert summary["n"] == 150
    with pytest.raises(RunError, match="another engine, k or other questions"):
        coverage(asked(150), Pages(), [10], Path("out"), resume=True)


def test_answers_that_any_page_holds_are_counted() -> None:
    easy = [Question("a", "Is it at 1", ("yes",)), Question("b", "Which at 2", ("7",))]
    summary = coverage([*asked(3), *easy], Pages(), [3], Path("out"))
    assert summary["short_answers"] == 2
    assert {group: e["n"] for group, e in summary["coverage"]["3"].items()} == {
        **{"odd": 2, "even": 1, "all (group)": 2, "all": 5}
    }


def test_from_the_command_line(capsys) -> None:
    documents = [
        {"id": str(n), "contents": f'"City {n}"\nCity {n} was founded by Person{n}x.'} for n in range(50)
    ]
    Path("corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in documents))
    rows = [
        {"id": str(n), "question": f"Who founded city {n}?", "golden_answers": [f"Person{n}x"]}
        for n in range(40, 60)
    ]
    Path("q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["index", "corpus.jsonl", "index"]) == 0
    arguments = ["data", "coverage", "q.jsonl", "--engine", "bm25:index", "-k", "1,10"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "| q " in printed
    assert "50.0 [27.2, 72.8]" in printed
    folder = Path("runs/coverage-q-bm25-index")
    assert read_json(folder / "summary.json")["coverage"]["1"]["q"]["value"] == 0.5
    assert "is not empty: add --resume" in fails(capsys, *arguments)
    assert main([*arguments, "--resume"]) == 0
