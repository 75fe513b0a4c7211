"""Benchmarks by name, from files laid out as published; a local server stands for the hub."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

import innersearch
from innersearch.assemble.sources import load_questions
from innersearch.cli import main
from innersearch.data.catalogue import BENCHMARKS, find
from innersearch.data.check import check, overlap
from innersearch.sealed import seal
from innersearch.stored import read_json, read_lines
from innersearch.types import Question
from tests.cli.test_cli import fails
from tests.search_servers import Answer, Asked, LocalServer

pytestmark = pytest.mark.usefixtures("in_empty_folder")

CANARY = "canary-5f1c"
SECRETS = ("Which zygote of Quorvale wrote the ninth ballad", "Brelvonia")


def works(*arguments: str) -> None:
    assert main(arguments) == 0


def write_jsonl(path: str, *rows: dict) -> str:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def write_table(path: str, *rows: dict, delimiter: str = ",") -> str:
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        table.writeheader()
        table.writerows(rows)
    return path


def flashrag(folder: str = "flash") -> str:
    """The seven sets as in the FlashRAG repository, two questions each."""
    for benchmark in BENCHMARKS.values():
        for file in benchmark.files.values():
            if file.endswith(".jsonl"):
                part = Path(file).stem
                rows = [
                    {
                        "id": f"{part}_{number}",
                        "question": f"who is number {number} of {benchmark.name}",
                        "golden_answers": [str(number), "Zoë"],
                        "metadata": {"type": "bridge", "context": {"title": ["a"]}},
                    }
                    for number in range(2)
                ]
                write_jsonl(f"{folder}/{file}", *rows)
    return folder


def browsecomp(path: str = "browse_comp_test_set.csv") -> str:
    """Sealed with the published algorithm, written out here once more."""

    def encrypted(text: str) -> str:
        import base64

        data, key = text.encode(), hashlib.sha256(CANARY.encode()).digest()
        return base64.b64encode(bytes(b ^ key[i % 32] for i, b in enumerate(data))).decode()

    question, answer = SECRETS
    rows = [
        {
            "problem": encrypted(f"{question}, number {number}? It takes more than 32 bytes."),
            "answer": encrypted(answer if number else "Nemie"),
            "problem_topic": "Art",
            "canary": CANARY,
        }
        for number in range(3)
    ]
    return write_table(path, *rows)


def test_every_flashrag_set_is_fetched_from_a_local_copy_and_used_by_name(capsys) -> None:
    folder = flashrag()
    for name in ("nq", "triviaqa", "popqa", "hotpotqa", "2wikimultihopqa", "musique", "bamboogle"):
        works("data", "get", name, "--from", folder)
        first, _ = load_questions(name)
        split = BENCHMARKS[name].split
        assert first == Question(
            f"{name}:{split}_0",
            f"who is number 0 of {name}",
            ("0", "Zoë"),
            {"type": "bridge", "data_source": name},
        )
        assert first.group == name
    assert "note  nq was published with 3,610 questions" in capsys.readouterr().out
    assert [q.id for q in load_questions("nq,hotpotqa")] == [
        *("nq:test_0", "nq:test_1", "hotpotqa:dev_0", "hotpotqa:dev_1")
    ]
    manifest = read_json(Path("data/nq.manifest.json"))
    assert manifest["source"] == "flash/nq/test.jsonl"
    assert manifest["n"] == 2
    source = Path("flash/nq/test.jsonl").read_bytes()
    assert manifest["source_sha256"] == hashlib.sha256(source).hexdigest()
    assert manifest["sha256"] == hashlib.sha256(Path("data/nq.jsonl").read_bytes()).hexdigest()


def test_other_splits_directories_and_files(monkeypatch) -> None:
    folder = flashrag()
    works("data", "get", "nq:train", "--from", folder, "--output", "elsewhere")
    works("data", "get", "nq", "--from", f"{folder}/nq", "--output", "elsewhere")
    works("data", "get", "nq:dev", "--from", f"{folder}/nq/dev.jsonl", "--output", "elsewhere")
    monkeypatch.setenv("INNERSEARCH_DATA", "elsewhere")
    assert load_questions("nq:train")[0].id == "nq:train_0"
    assert load_questions("nq:dev,nq")[0].id == "nq:dev_0"


def test_search_r1_parquet_with_the_ids_of_both_sources() -> None:
    rows = [
        {
            "id": "train_0",
            "question": f"A question of {source}?",
            "golden_answers": ["x"],
            "data_source": source,
            "prompt": [{"role": "user", "content": "…"}],
            "reward_model": {"style": "rule", "ground_truth": {"target": ["x"]}},
            "extra_info": {"split": "train", "index": 0},
        }
        for source in ("nq", "hotpotqa")
    ]
    Path("r1").mkdir()
    parquet.write_table(pa.Table.from_pylist(rows), "r1/train.parquet")
    works("data", "get", "nq_hotpotqa_train", "--from", "r1")
    found = load_questions("nq_hotpotqa_train")
    assert [(q.id, q.group) for q in found] == [("nq:train_0", "nq"), ("hotpotqa:train_0", "hotpotqa")]


def test_simpleqa_and_frames() -> None:
    write_table("simple.csv", {"metadata": "{'topic': 'Art'}", "problem": "Who, when?", "answer": "7"})
    wiki = {"wiki_links": "['https://…']", "reasoning_types": "Tabular"}
    write_table("test.tsv", {"Prompt": 'Who "did"\nit?', "Answer": "Jane\tDoe"} | wiki, delimiter="\t")
    works("data", "get", "simpleqa", "--from", "simple.csv")
    works("data", "get", "frames", "--from", "test.tsv")
    assert load_questions("simpleqa") == [
        Question("simpleqa:1", "Who, when?", ("7",), {"data_source": "simpleqa"})
    ]
    assert load_questions("frames")[0].question == 'Who "did"\nit?'
    assert load_questions("frames")[0].golden_answers == ("Jane\tDoe",)


def test_the_hub_is_asked_through_its_client(tmp_path: Path) -> None:
    """In a process of its own, for the client reads its address when it is imported."""
    body = Path(flashrag(), "bamboogle/test.jsonl").read_bytes()

    def answer(asked: Asked) -> Answer:
        wanted = "/datasets/RUC-NLPIR/FlashRAG_datasets/resolve/main/bamboogle/test.jsonl"
        if asked.path != wanted:
            return Answer({"error": "no such file"}, 404, {"X-Error-Code": "EntryNotFound"})
        return Answer(body, 200, {"ETag": '"abc"', "X-Repo-Commit": "c" * 40})

    with LocalServer(answer) as server:
        environment = os.environ | {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "hub")}
        environment |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
        environment |= {"PYTHONPATH": str(Path(innersearch.__file__).parents[1].absolute())}
        command = [sys.executable, "-m", "innersearch", "data", "get"]
        good, bad = (
            subprocess.run([*command, name], env=environment, capture_output=True, text=True)
            for name in ("bamboogle", "nq")
        )
    assert good.returncode == 0, good.stderr
    assert len(load_questions("bamboogle")) == 2
    assert read_json(Path("data/bamboogle.manifest.json"))["source"] == (
        "RUC-NLPIR/FlashRAG_datasets/bamboogle/test.jsonl"
    )
    assert bad.returncode == 1
    assert "give it with --from DIR" in bad.stderr
    assert "Traceback" not in bad.stderr


def test_an_address_is_downloaded(capsys) -> None:
    body = Path(browsecomp()).read_bytes()

    def answer(asked: Asked) -> Answer:
        return Answer(body) if asked.path.endswith("set.csv") else Answer({}, 404)

    with LocalServer(answer) as server:
        works("data", "get", "browsecomp", "--from", server.url)
        gone = ("data", "get", "simpleqa", "--from", f"{server.url}/x.csv")
        assert "cannot fetch" in fails(capsys, *gone)
    assert Path("data/browsecomp.csv").read_bytes() == body


def test_nothing_is_overwritten_and_twice_is_once(capsys) -> None:
    folder = flashrag()
    works("data", "get", "nq", "--from", folder)
    works("data", "get", "nq", "--from", folder)
    before = Path("data/nq.jsonl").read_bytes()
    write_jsonl(f"{folder}/nq/test.jsonl", {"id": "1", "question": "Other?", "golden_answers": ["x"]})
    assert "holds other data" in fails(capsys, "data", "get", "nq", "--from", folder)
    assert Path("data/nq.jsonl").read_bytes() == before
    works("data", "ls")
    assert "changed since" not in capsys.readouterr().out
    Path("data/nq.jsonl").write_bytes(before + before)
    works("data", "ls")
    assert "2, changed since" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("data", "get", "hotpot"), "did you mean 'hotpotqa'?"),
        (("data", "get", "nq:test2"), "did you mean 'test'?"),
        (("data", "get", "nq", "--from", "nowhere"), "no directory, file, dataset id"),
        (("data", "get", "nq", "--from", "."), "no nq/test.jsonl"),
        (("data", "get", "nq", "--from", "pointer.jsonl"), "git lfs pull"),
        (("data", "get", "nq", "--from", "bad.jsonl"), "row 1 is no JSON"),
        (("eval", "world-1", "--data", "nq"), "innersearch data get nq"),
        (("eval", "world-1", "--data", "natural"), "unknown benchmark 'natural'"),
        (("data", "coverage", "world-1:test", "--engine", "world-1", "-k", "3,x"), "-k takes numbers"),
    ],
)
def test_what_cannot_be_had(capsys, arguments: tuple[str, ...], message: str) -> None:
    Path("pointer.jsonl").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    Path("bad.jsonl").write_text("{\n")
    assert message in fails(capsys, *arguments)
    assert not list(Path().glob("data/*.jsonl"))


def test_browsecomp_is_never_written_in_plain_words(capsys) -> None:
    works("data", "get", "browsecomp", "--from", browsecomp())
    rows = load_questions("browsecomp", allow_sealed=True)
    assert rows[1].question.startswith(SECRETS[0])
    assert rows[1].golden_answers == (SECRETS[1],)
    assert (rows[0].id, rows[0].group) == ("browsecomp:1", "browsecomp")
    works("data", "check", "browsecomp", "--against", "browsecomp")
    works("data", "coverage", "browsecomp", "--engine", "world-1", "-k", "1,3")
    short = ("--max-new-tokens", "24")
    works("eval", "world-1", "--data", "browsecomp", "-n", "2", "--output", "own", *short)
    works("eval", "world-1", "--data", "browsecomp", "--search", "world-1", "--output", "real", *short)
    works("compare", "own", "real")
    printed = capsys.readouterr()
    for word in (SECRETS[0].split()[1], SECRETS[1]):
        assert word not in printed.out + printed.err
        for file in Path().rglob("*"):
            assert file.is_dir() or word.encode() not in file.read_bytes(), file
    [first, *_] = read_lines(Path("own/greedy.jsonl"))
    assert first["question"] == seal(rows[0].question, CANARY)
    assert first["canary"] == CANARY
    assert Path("own/trajectories.jsonl").read_bytes() == b""
    summary = read_json(Path("own/summary.json"))
    assert summary["em"]["browsecomp"]["n"] == summary["majority_em"]["browsecomp"]["n"] == 3


def test_plain_words_are_not_fetched_as_sealed_ones(capsys) -> None:
    get = ("data", "get", "browsecomp", "--from")
    plain = {"problem": SECRETS[0], "answer": SECRETS[1]}
    write_table("plain.csv", plain)
    mixed = Path(browsecomp("mixed.csv"))
    mixed.write_text(mixed.read_text() + f"{SECRETS[0]},{SECRETS[1]},Art,\n")
    write_jsonl("plain.jsonl", {"question": "Q?", "answer": "A", "metadata": {"canary": CANARY}})
    for file in ("plain.csv", "mixed.csv", "plain.jsonl"):
        assert "not sealed as browsecomp" in fails(capsys, *get, file)
    assert not Path("data").exists()


@pytest.mark.parametrize("left", ['{"name": "n', "{}", "[]"])
def test_a_torn_manifest_is_none(capsys, left: str) -> None:
    get = ("data", "get", "nq", "--from", flashrag())
    works(*get)
    Path("data/nq.manifest.json").write_text(left)
    works("data", "ls")
    assert "yes, of unknown origin" in capsys.readouterr().out
    assert "data/nq.jsonl holds other data: delete it" in fails(capsys, *get)
    Path("data/nq.jsonl").unlink()
    works(*get)
    assert read_json(Path("data/nq.manifest.json"))["n"] == 2


def test_sealed_questions_are_for_evaluation_only(capsys) -> None:
    works("data", "get", "browsecomp", "--from", browsecomp())
    pairs = ("--engine", "world-1", "--output", "pairs.jsonl")
    message = fails(capsys, "simulator", "collect", "world-1", "--data", "browsecomp", *pairs)
    assert "browsecomp is sealed" in message
    cache = ("--search", "world-1", "--cache", "searches.sqlite")
    assert "--cache keeps queries" in fails(capsys, "eval", "world-1", "--data", "browsecomp", *cache)
    rows = Path("data/browsecomp.csv").read_text().replace(CANARY, "another canary")
    Path("broken.csv").write_text(rows)
    assert "does not open with the canary" in fails(capsys, "eval", "world-1", "--data", "broken.csv")


def test_check_finds_what_is_wrong(capsys) -> None:
    good = {"question": "Who wrote the long book about the sea?", "golden_answers": ["Ann"]}
    write_jsonl(
        "data.jsonl",
        good | {"id": "1"},
        good | {"id": "1", "question": "who wrote  THE long book about a sea"},
        {"id": "2", "question": "Is it?", "golden_answers": ["yes"]},
        {"id": "3", "question": "Which article is it?", "golden_answers": ["The"]},
        {"id": "4", "question": "Which list is it?", "golden_answers": ["[1, 2]", "the"]},
        {"id": "5", "question": "Which answer is missing?", "golden_answers": []},
        {"id": "6", "question": "Was it Ann or Bob?", "golden_answers": ["Bob"]},
        {"id": "7", "golden_answers": ["x"]},
        {"id": "8", "question": "In which year was it?", "golden_answers": ["1998.0"]},
    )
    questions, found = check(Path("data.jsonl"))
    assert found.n == len(questions) == 7
    assert found.same_id == ["1"]
    assert found.same_question == ["data:1#2"]
    assert [row.partition(" has")[0] for row in found.unreadable] == ["row 6", "row 8"]
    assert {what: ids for what, ids in found.odd.items() if "says" in what or "bracket" in what} == {
        "no gold answer says anything after normalisation, and they are matched as written": ["3"],
        "one of several gold answers says nothing after normalisation, and is left out": ["4"],
        "a gold answer begins with a bracket": ["4"],
    }
    assert found.odd["a gold answer is a whole number with .0"] == ["8"]
    assert found.odd["gold answers are all yes or no"] == ["2"]
    assert found.odd["a gold answer stands in the question"] == ["6"]
    message = fails(capsys, "data", "check", "data.jsonl")
    assert "2 rows of data.jsonl are no questions" in message


def test_check_reads_up_to_where_a_file_breaks_off(capsys) -> None:
    Path("cut.jsonl").write_text('{"question": "Who is it?", "golden_answers": ["A"]}\n{"questi')
    _, found = check(Path("cut.jsonl"))
    assert (found.n, len(found.unreadable)) == (1, 1)
    assert "1 rows of cut.jsonl" in fails(capsys, "data", "check", "cut.jsonl")
    Path("empty.jsonl").write_text("\n")
    assert "empty.jsonl holds no questions" in fails(capsys, "data", "check", "empty.jsonl")
    assert "no data file at gone.jsonl" in fails(capsys, "data", "check", "gone.jsonl")


def test_contamination() -> None:
    def asked(identity: str, text: str) -> Question:
        return Question(identity, text, ("x",))

    train = [
        asked("t1", "Who was the first king of the cold northern isles after the war?"),
        asked("t2", "What is the capital of Peru?"),
    ]
    test = [
        asked("same", "what is capital of peru"),
        asked("alike", "Tell me: who was the first king of the cold northern isles?"),
        asked("other", "Who was the first king of the southern isles after the peace?"),
    ]
    found = overlap(test, train)
    assert (found.n, found.same, found.alike) == (3, ["same"], ["alike"])


def test_check_knows_what_was_published(capsys) -> None:
    works("data", "get", "bamboogle", "--from", flashrag())
    works("data", "check", "bamboogle", "--against", "bamboogle")
    printed = capsys.readouterr().out
    assert "expected  published with 125" in printed
    assert "the same question  2  (bamboogle:test_0, bamboogle:test_1)" in printed
    assert find("bamboogle").n == 125
