"""`innersearch index` and `search` as a user types them: odd paths, odd documents, damage."""

from __future__ import annotations

import json
import shlex
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from innersearch.assemble.engines import price_usd
from innersearch.cli import main
from innersearch.config import SearchSettings
from innersearch.config.names import bare, cut, engine_names, place
from innersearch.search.base import SearchResult
from innersearch.types import Document
from tests.cli.test_cli import fails
from tests.search.test_dense import FACTS, Endpoint, WordEncoder

pytestmark = pytest.mark.usefixtures("in_empty_folder")

ODD = [
    *(
        "a,b/ix",
        "me@home/ix",
        'say "hi"',
        "sp ace",
        "it's",
        "#1",
        "back\\slash",
        "~tilde",
        "$HOME",
        "a;b|c",
    ),
    *(" edge ", "*", "ünï 北京", '",@"', "-dash"),
]


def corpus(rows: list[dict[str, str]] | None = None) -> str:
    rows = rows or [{"id": d.id, "title": d.title, "text": d.text} for d in FACTS]
    Path("corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return "corpus.jsonl"


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("folder", ODD)
@pytest.mark.parametrize("kind", ["bm25", "dense"])
def test_the_printed_command_works_as_it_is(capsys, endpoint: Endpoint, folder: str, kind: str) -> None:
    encoder = ["--encoder", f"{endpoint.url}#mo,d@el"] if kind == "dense" else []
    assert main(["index", corpus(), *encoder, "--", folder]) == 0
    printed = capsys.readouterr().out.splitlines()
    command = next(line.removeprefix("next").strip() for line in printed if line.startswith("next"))
    program, *arguments = shlex.split(command)
    assert program == "innersearch"
    arguments[-1] = "yeast oven"
    assert main(arguments) == 0
    assert capsys.readouterr().out.startswith("1  Bread")
    # And beside another one.
    name = f"{arguments[1]},{kind}:{place(Path(folder).absolute())}"
    name += f"@{place(encoder[1])}" if encoder else ""
    assert main(["search", name, "yeast oven"]) == 0
    assert capsys.readouterr().out.startswith("1  Bread")


def test_quotes_keep_what_stands_in_them() -> None:
    for text in (*ODD, "", '"', "\\", '\\"', "a\nb", ",", "a,b,,c"):
        assert bare(place(text)) == text
        assert [name.text for name in engine_names(f" serper , bm25:{place(text)}x,exa")] == [
            "serper",
            f"bm25:{place(text)}x",
            "exa",
        ]
        assert [bare(part) for part in cut(f"{place(text)}@m", "@")] == [text, "m"]
    assert price_usd(engine_names('serper,bm25:"serper,exa"')) == price_usd(engine_names("serper"))
    for wrong in ('bm25:"a', 'a"b,c', '"a\\"'):
        for refuses in (engine_names, lambda text: SearchSettings(engine=text)):
            with pytest.raises(ValueError, match="not closed"):
                refuses(wrong)


def test_documents_are_printed_short_with_their_address_and_cannot_steer_the_terminal(capsys) -> None:
    text = "bread \x1b]52;c;aGk=\x07\x1b[2Jis baked\r2  Forged\x9b31m \u202e" + "and eaten " * 100
    row = {
        "id": "1",
        "title": "Bread\n2  Fake\x1b[0m",
        "text": text,
        "url": "https://x.example/\x1b[1mb",
    }
    assert main(["index", corpus([row, {"id": "2", "title": "T", "text": "none"}]), "index"]) == 0
    capsys.readouterr()
    assert main(["search", "bm25:index", "bread"]) == 0
    printed = capsys.readouterr().out
    assert not set("\x1b\x07\x9b\r\u202e") & set(printed)
    lines = printed.splitlines()
    assert lines[0].startswith("1  Bread 2 Fake")
    assert lines[1] == "   https://x.example/b"
    assert [line for line in lines if not line.startswith("   ")] == lines[:1]
    assert "characters more: --full" in printed
    assert len(printed) < 700
    assert main(["search", "bm25:index", "bread", "--full"]) == 0
    assert capsys.readouterr().out.count("and eaten") == 100


def test_a_part_that_failed_is_said(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    class Half:
        name = "half"

        async def search(self, queries: list[str], k: int) -> list[SearchResult]:
            return [SearchResult((Document("1", "T", "text"),), partial="remote: HTTP 503")]

        async def close(self) -> None:
            pass

    monkeypatch.setattr("innersearch.cli.search.open_engine", lambda *_, **__: Half())
    assert main(["search", "a,b", "query"]) == 0
    assert "a part of the engine failed: remote: HTTP 503" in capsys.readouterr().err


def test_an_index_is_verified_on_demand(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["index", corpus(), "index"]) == 0
    assert main(["index", "index", "--verify"]) == 0
    assert "is as it was built" in capsys.readouterr().out
    file = Path("index/documents.jsonl")
    file.write_bytes(file.read_bytes().replace(b"radium", b"rodium"))
    # A large one is opened nevertheless.
    with monkeypatch.context() as patch:
        patch.setattr("innersearch.search.index.store._SMALL", 0)
        assert main(["search", "bm25:index", "Marie Curie"]) == 0
        assert "documents.jsonl is not what was built" in fails(capsys, "index", "index", "--verify")
    assert "documents.jsonl is not what was built" in fails(capsys, "search", "bm25:index", "Curie")
    assert "no index at" in fails(capsys, "index", "nowhere", "--verify")
    assert "no index at" in fails(capsys, "search", "bm25:~nobody-of-this-name/index", "query")
    assert "no corpus" in fails(capsys, "index", "a", "b", "--verify", status=2)
    assert "directory of the index" in fails(capsys, "index", "corpus.jsonl", status=2)


def test_a_published_faiss_index_is_opened_by_its_directory(capsys, endpoint: Endpoint) -> None:
    faiss = pytest.importorskip("faiss")
    folder = Path("wiki-18")
    folder.mkdir()
    Path(corpus()).rename(folder / "wiki-18.jsonl")
    index = faiss.IndexFlatIP(64)
    index.add(WordEncoder().encode([f"{d.title}\n{d.text}" for d in FACTS], "passage"))
    faiss.write_index(index, str(folder / "e5_Flat.index"))
    name = f"dense:wiki-18@{endpoint.url}#m"
    assert main(["search", name, "molten rock"]) == 0
    assert capsys.readouterr().out.startswith("1  Volcano")
    (folder / "other.jsonl").write_text("")
    message = fails(capsys, "search", name, "molten rock")
    assert "e5_Flat.index, other.jsonl, wiki-18.jsonl: leave in it one" in message
