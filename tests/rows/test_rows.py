"""Files that people bring: read right, or refused in one line that names file and row."""

from __future__ import annotations

import asyncio
import bz2
import gzip
import json
import lzma
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from innersearch.assemble.recipes import read_recipe
from innersearch.assemble.sources import load_questions
from innersearch.data.check import check
from innersearch.errors import DataError
from innersearch.readers import read_questions
from innersearch.search.index.corpus import read_corpus
from innersearch.search.remote.retrieve import RemoteEngine
from innersearch.types import Document
from tests.cli.test_cli import fails
from tests.search_servers import Answer, LocalServer

pytestmark = pytest.mark.usefixtures("in_empty_folder")

ROWS = [
    {"id": str(n), "question": f"Who is “{n}”?", "golden_answers": ["Zoë", f"No. {n}"]} for n in range(3)
]
TEXT = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)
LINES = TEXT.encode()
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
TABLE = "question,answer\nWho is “0”?,Zoë\n"


def write(name: str, data: bytes | str) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def refused(path: Path) -> str:
    with pytest.raises(DataError) as error:
        read_questions(path)
    assert "\n" not in str(error.value)
    assert path.parts[0] in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        *(("q.jsonl.gz", gzip.compress(LINES, mtime=0)), ("q.jsonl.bz2", bz2.compress(LINES))),
        *(("q.jsonl.xz", lzma.compress(LINES)), ("q.jsonl", gzip.compress(LINES, mtime=0))),
        *(("q.jsonl.zst", pa.compress(LINES, "zstd", asbytes=True)), ("q.ndjson", LINES)),
        *(("q.jsonl", TEXT.encode("utf-8-sig")), ("q.jsonl", TEXT.encode("utf-16"))),
        *(("q.jsonl", TEXT.encode("utf-16-be")), ("q.jsonl", TEXT.encode("utf-32"))),
        *(("q.jsonl", LINES.replace(b"\n", b"\r\n")), ("q.jsonl", LINES.replace(b"\n", b"\r"))),
        *(("q.JSONL", LINES), ("q.json", json.dumps(ROWS)), ("q.jsonl", json.dumps(ROWS, indent=1))),
        *(("q.json", LINES), ("q.json.gz", gzip.compress(json.dumps({"Data": ROWS}).encode(), mtime=0))),
        ("parts/q-00000-of-00001.jsonl", LINES),
    ],
)
def test_packed_and_encoded_files_are_read(name: str, data: bytes | str) -> None:
    path = write(name, data)
    found = read_questions(path.parent if path.parent.name else path)
    assert [(q.id, q.question, list(q.golden_answers)) for q in found] == [
        (row["id"], row["question"], row["golden_answers"]) for row in ROWS
    ]
    assert found[0].group == ("parts" if path.parent.name else "q")


def test_saved_data_sets_and_parts_of_files() -> None:
    def stream(name: str, rows: list[dict[str, Any]]) -> None:
        table = pa.Table.from_pylist(rows)
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        with pa.OSFile(name, "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)

    for split in ("train", "test"):
        for n in range(2):
            stream(f"saved/{split}/data-0000{n}-of-00002.arrow", ROWS[n : n + 1])
        files = [{"filename": f"data-0000{n}-of-00002.arrow"} for n in (1, 0)]
        write(f"saved/{split}/state.json", json.dumps({"_data_files": files}))
        write(f"saved/{split}/dataset_info.json", "{}")
    write("saved/dataset_dict.json", json.dumps({"splits": ["train", "test"]}))
    assert [q.id for q in load_questions("saved/train")] == ["1", "0"]
    assert "name one of saved/train, saved/test" in refused(Path("saved"))
    Path("saved/train/data-00001-of-00002.arrow").unlink()
    assert "data-00001-of-00002.arrow is missing" in refused(Path("saved/train"))
    write("saved/test/state.json", json.dumps({"_data_files": [{"filename": "../../secret"}]}))
    assert "is damaged" in refused(Path("saved/test"))
    for n in (1, 2, 10):
        write(f"numbered/part{n}.csv", f"question,answer\nq{n}?,A\n")
    write("numbered/README.md", "x")
    assert [q.question for q in read_questions(Path("numbered"))] == ["q1?", "q2?", "q10?"]
    write("cut/a-00000-of-00003.jsonl", LINES)
    write("cut/a-00002-of-00003.jsonl", LINES)
    assert "part 1 is missing" in refused(Path("cut"))
    write("mixed/train.jsonl", LINES)
    write("mixed/test.jsonl", LINES)
    assert "no parts of one (test.jsonl, train.jsonl)" in refused(Path("mixed"))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("q.jsonl", POINTER, "run `git lfs pull`"),
        (
            "q.parquet",
            POINTER,
            "run `git lfs pull`",
        ),
        ("q.jsonl", "\n<!DOCTYPE html>\n<html>", "is a web page"),
        ("q.csv", "<html><body>404</body>", "is a web page"),
        ("q.jsonl", b"PAR1....", "ends in .parquet"),
        ("q.csv", b"PK\x03\x04....", "zip archive"),
        ("q.jsonl", "", "holds no questions"),
        ("q.csv", "", "holds no questions"),
        ("q.json", " \n", "holds no questions"),
        ("q.parquet", "", "no readable Parquet file"),
        ("q.arrow", "x", "no readable Arrow file"),
        ("q.jsonl.gz", gzip.compress(LINES, mtime=0)[:-9], "no complete gzip file"),
        ("q.jsonl.xz", lzma.compress(LINES)[:-9], "no complete xz file"),
        ("q.jsonl.zst", pa.compress(LINES, "zstd", asbytes=True)[:-9], "no complete zstd file"),
        ("q.jsonl", TEXT.encode("cp1252"), "row 1 is no UTF-8: .*; save the file as UTF-8"),
        ("q.csv", TABLE.encode("cp1252"), "row 1 .*is no UTF-8: .*; save the file as UTF-8"),
        ("q.jsonl", TEXT.encode("utf-16")[:-1], "row 3 is no UTF-16"),
        ("q.jsonl", '{"question": "a?", "answer": "A", "question": "b?"}', "'question' twice"),
        ("q.jsonl", '{"question": "a?", "answer": "A", "m": ' + "[" * 500 + "]" * 500 + "}", "nested"),
        ("q.jsonl", '{"question": 7, "answer": "A"}', r"'question' is a number \(7\)"),
        ("q.jsonl", '{"question": null, "answer": "A"}', "row 1 has no 'question'"),
        ("q.jsonl", '{"question": ["a?"], "answer": "A"}', "'question' is a list"),
        ("q.jsonl", '{"id": [1], "question": "a?", "answer": "A"}', "'id' is a list"),
        ("q.jsonl", '{"question": "a\\u0000?", "answer": "A"}', "a NUL character"),
        ("q.json", '[{"question": "a?", "answer": "A"}, 7]', "row 2 is no JSON object"),
        ("q.json", '[{"question": "a?", "answer": "A"},', "is no JSON"),
        ("q.xlsx", "x", "ends in '.xlsx'; data files are"),
    ],
)
def test_what_is_no_file_of_questions_is_named(name: str, data: bytes | str, message: str) -> None:
    path = write(name, data)
    with pytest.raises(DataError, match=message):
        read_questions(path)
    refused(path)


def test_what_would_hang_or_is_not_there() -> None:
    os.mkfifo("pipe.jsonl")
    assert "is a pipe" in refused(Path("pipe.jsonl"))
    Path("folder.jsonl").mkdir()
    assert "is a directory without a data file" in refused(Path("folder.jsonl"))
    assert "no data file at gone.jsonl" in refused(Path("gone.jsonl"))
    Path("loop.jsonl").symlink_to("loop.jsonl")
    refused(Path("loop.jsonl"))
    with pytest.raises(DataError, match="no data file at"):
        read_questions(Path("x" * 5000 + ".jsonl"))
    with pytest.raises(DataError, match="no corpus at"):
        read_corpus(Path("nul\0.jsonl"))


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("q.csv", "\ufeff" + TABLE, ("Who is “0”?", "Zoë")),
        ("q.csv", TABLE.replace("\n", "\r"), ("Who is “0”?", "Zoë")),
        ("q.csv", TABLE.replace("\n", "\r\n"), ("Who is “0”?", "Zoë")),
        ("q.csv", "question;answer\nWho, where?;A\n", ("Who, where?", "A")),
        ("q.csv", "sep=;\nquestion;answer\nWho, where?;A\n", ("Who, where?", "A")),
        ("q.csv", "question\tanswer\nWho, where?\tA\n", ("Who, where?", "A")),
        ("q.csv", 'question,answer\n"Who, when,\nwhere?",A\n', ("Who, when,\nwhere?", "A")),
        (
            "q.csv",
            'question,answer\nHow long is a 5" nail?,12 cm\n',
            ('How long is a 5" nail?', "12 cm"),
        ),
        ("q.csv", ',Question,Answer\n0,Who?,A\n,,\n"","",""\n\n', ("Who?", "A")),
        ("q.tsv", 'question\tanswer\n"Who ""did""\nit?"\t"A\tB"\n', ('Who "did"\nit?', "A\tB")),
        ("q.tsv", 'question\tanswer\nWho is "X"?\tA\n', ('Who is "X"?', "A")),
        ("q.csv.gz", gzip.compress(TABLE.encode("utf-16"), mtime=0), ("Who is “0”?", "Zoë")),
    ],
)
def test_tables_of_other_dialects_are_read(
    name: str, data: bytes | str, expected: tuple[str, str]
) -> None:
    [question] = read_questions(write(name, data))
    assert (question.question, *question.golden_answers) == expected
    assert question.id == "q:1"


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("q.csv", "question,answer\nWho founded Paris, Texas?,A Name\n", "row 1 .*has 3 fields where"),
        ("q.csv", "question,answer\nWho?,A\nWho else?\n", "row 2 .*has 1 field where"),
        ("q.csv", 'question,answer\n"Who?,A\nWhat?,B\n', "row 1 .*a quote is never closed"),
        ("q.csv", 'question,answer\nWho?,A\n"What" is it?,B\n', "row 2 .*a quote closes inside a field"),
        ("q.csv", 'question,answer\nWho said "hi, there"?\n', "row 1 .*quotes that open in one field"),
        ("q.csv", "question,answer,answer\nWho?,A,B\n", "the column 'answer' twice"),
        ("q.csv", "question,answer,,\nWho?,A,B,C\n", "several columns without a name"),
        ("q.csv", "Who is it?,A\nWho else?,B\n", "row 1 has no 'question'"),
        ("q.csv", 'question,answer\nWho?,"' + "A" * 2**17 + "\n", "a quote is never closed"),
        ("q.tsv", "question\tanswer\nWho is\nit?\tA\n", "row 1 .*has 1 field where the header has 2"),
        ("q.tsv", 'question\tanswer\n"Who?\tA\nWhat"\tB\n', "row 1 .*runs over 2 lines"),
        ("q.tsv", 'question\tanswer\n"Weird Al" who?\tA\n', "row 1 .*a quote closes inside a field"),
        ("q.tsv", TABLE, "row 1 has no 'question'"),
    ],
)
def test_ragged_rows_and_stray_quotes_are_refused_by_row(name: str, data: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_questions(write(name, data))


def test_a_parquet_file_with_bad_text_names_row_and_column() -> None:
    texts = pa.array([b"a?", b"b\xff?", b"c?"], pa.binary()).view(pa.string())
    for kind, batch in ((parquet.write_table, pa.table({"question": texts, "answer": ["A"] * 3})),):
        kind(batch, "bad.parquet")
    assert "bad.parquet, row 2 cannot be read: 'question' is no UTF-8" in refused(Path("bad.parquet"))
    _, found = check(Path("bad.parquet"))
    assert (found.n, len(found.unreadable)) == (2, 1)
    parquet.write_table(pa.table({"question": [b"Wer?"], "answer": [b"Zo\xc3\xab"]}), "bytes.parquet")
    assert read_questions(Path("bytes.parquet"))[0].golden_answers == ("Zoë",)
    parquet.write_table(pa.table({"id": [7.0, None], "text": ["a", "b"]}), "ids.parquet")
    assert [document.id for document in read_corpus(Path("ids.parquet"))] == ["7", "2"]


def test_corpora_of_other_layouts() -> None:
    write("beir.jsonl", '{"_id": "d1", "title": "T", "text": "x", "metadata": {}}\n')
    assert list(read_corpus(Path("beir.jsonl"))) == [Document("d1", "T", "x")]
    write("psgs.tsv", 'id\ttext\ttitle\n1\t"A ""b"" c"\t"""Heroes"" (song)"\n')
    assert list(read_corpus(Path("psgs.tsv"))) == [Document("1", '"Heroes" (song)', 'A "b" c')]
    write("titled.jsonl", '{"id": 7.0, "title": "Aaron", "contents": "\\"Aaron\\"\\nA prophet."}\n')
    assert list(read_corpus(Path("titled.jsonl"))) == [Document("7", "Aaron", "A prophet.")]


@pytest.mark.parametrize(
    ("first", "title"),
    [
        ('"Aaron"', "Aaron"),
        ("Aaron", "Aaron"),
        ('"""Weird Al"" Yankovic"', '"Weird Al" Yankovic'),
        ('""Weird Al" Yankovic"', '"Weird Al" Yankovic'),
        ('"Weird Al" Yankovic', '"Weird Al" Yankovic'),
        (r'"\"Weird Al\" Yankovic"', '"Weird Al" Yankovic'),
        ('"Hello" and "Goodbye"', '"Hello" and "Goodbye"'),
        ('"""Heroes"""', '"Heroes"'),
        ('"The 12"" single"', 'The 12" single'),
        *(('""', ""), ('"', '"'), (" ", "")),
    ],
)
def test_titles_of_corpora_and_of_servers_are_read_alike(first: str, title: str) -> None:
    row = {"id": "1", "contents": f"{first}\nA text."}
    write("c.jsonl", json.dumps(row))
    assert list(read_corpus(Path("c.jsonl"))) == [Document("1", title, "A text.")]
    with LocalServer(lambda asked: Answer({"result": [[{"document": row, "score": 1.0}]]})) as server:
        [found] = asyncio.run(RemoteEngine(server.url).search(["who"], 1))
    assert [(document.title, document.text) for document in found.documents] == [(title, "A text.")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"title": 1984, "text": "x"}', r"'title' is a number \(1984\), not text"),
        ('{"title": ["a"], "text": "x"}', "'title' is a list, not text"),
        ('{"title": "a", "text": ["x"]}', "'text' is a list, not text"),
        ('{"title": "a", "text": null}', "has neither 'contents' nor 'text'; 'text' is null"),
        ('{"contents": 7}', "'contents' is a number"),
        ('{"id": {"a": 1}, "text": "x"}', "'id' is an object"),
        ('{"text": "x", "n": ' + "9" * 5000 + "}", "more than 4,300 digits"),
        ('{"text": "x", "n": ' + "[" * 100_000, "nested too deeply"),
        ('{"text": "\\udc80"}', "half of a character"),
    ],
)
def test_a_document_of_another_type_says_which_field(line: str, message: str) -> None:
    write("c.jsonl", f'{{"text": "good"}}\n{line}\n')
    with pytest.raises(DataError, match=f"c.jsonl, row 2 .*{message}"):
        list(read_corpus(Path("c.jsonl")))


RECIPE = 'name = "short"\n[trainer]\nsteps = 3\n'


@pytest.mark.parametrize(
    "data",
    [
        *(RECIPE.encode("utf-8-sig"), RECIPE.encode("utf-16"), RECIPE.replace("\n", "\r\n").encode()),
        *(RECIPE.replace("\n", "\r").encode(), RECIPE.replace(" = ", "\t=\t").encode()),
    ],
)
def test_recipes_are_read_as_files_of_questions_are(data: bytes) -> None:
    write("r.toml", data)
    assert read_recipe("r.toml")[1] == {"name": "short", "trainer": {"steps": 3}}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ('{"name": "x"}', "r.toml is JSON: a recipe is TOML"),
        (b'name = "caf\xe9"', "r.toml, line 1 is no UTF-8"),
        (b'# caf\xc3\xa9\nname = "caf\xe9"', "r.toml, line 2 is no UTF-8"),
        ("name: x", "r.toml is no TOML"),
        ("n = " + "9" * 5000, "more than 4,300 digits"),
        ("n = " + "[" * 5000, "nested too deeply"),
        ("<html>", "is a web page"),
        ("name = 'a\0b'", "is no TOML"),
    ],
)
def test_what_is_no_recipe_is_one_line(capsys, data: bytes | str, message: str) -> None:
    write("r.toml", data)
    assert message in fails(capsys, "train", "r.toml")


def test_a_directory_is_no_recipe(capsys) -> None:
    Path("r.toml").mkdir()
    assert "r.toml is a directory" in fails(capsys, "train", "r.toml")


def test_what_an_old_version_of_datasets_selected_is_not_taken_for_all() -> None:
    write("old/state.json", '{"_data_files": [{"filename": "d.arrow"}], "_indices_data_files": [1]}')
    assert "old was saved by an old version of datasets" in refused(Path("old"))
