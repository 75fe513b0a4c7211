"""The bundled model is what the build makes. `make test-build` runs it, in about 15 minutes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from innersearch.cli import main
from innersearch.policy.loading import load_tokenizer
from innersearch.stored import read_json
from innersearch.view.tables import evaluation_table
from innersearch.world.bundled import BUNDLED, BUNDLED_SEED
from innersearch.world.corpus import CorpusPlan, corpus
from innersearch.world.encyclopedia import Encyclopedia, Split
from innersearch.world.questions import GROUPS, questions
from innersearch.world.tokenizer import make_tokenizer
from innersearch.world_making.build import MANIFEST, fingerprint, vocabulary, write_data
from innersearch.world_making.pretrain import PretrainPlan
from tests.intervals import overlap

WORLD = Encyclopedia.generate(BUNDLED_SEED)


@pytest.mark.build
def test_a_build_has_the_data_of_the_bundled_model_and_its_metrics(tmp_path: Path) -> None:
    assert main(["world", "build", str(tmp_path / "world")]) == 0
    built = read_json(tmp_path / "world" / "model" / MANIFEST)
    bundled = json.loads((BUNDLED / MANIFEST).read_text())
    for key in fingerprint(WORLD, CorpusPlan(), PretrainPlan()):
        assert built[key] == bundled[key]
    assert built["parameters"] == bundled["parameters"]
    for group in GROUPS:
        # Whether the greedy answer stops after one search is a close call, decided by rounding.
        for k in ("1", "16"):
            mine, theirs = (m["metrics"]["pass_at_k"][group][k] for m in (built, bundled))
            assert overlap(mine, theirs), (group, k)


def test_the_bundled_data_hashes_are_what_the_build_makes() -> None:
    manifest = json.loads((BUNDLED / MANIFEST).read_text())
    made = fingerprint(WORLD, CorpusPlan(), PretrainPlan())
    assert {key: manifest[key] for key in made} == made


def test_what_a_build_prints_of_its_metrics() -> None:
    printed = evaluation_table(json.loads((BUNDLED / MANIFEST).read_text())["metrics"])
    assert "depth_2" in printed
    assert "24 questions per group, 16 samples each" in printed


def test_the_bundled_tokenizer_is_what_the_build_makes(tmp_path: Path) -> None:
    made = make_tokenizer(vocabulary(WORLD, CorpusPlan()))
    made.save_pretrained(tmp_path)
    assert (tmp_path / "tokenizer.json").read_text() == (BUNDLED / "tokenizer.json").read_text()
    texts = [document.text for document in corpus(WORLD, CorpusPlan(), 0)][:2000]
    assert load_tokenizer(str(BUNDLED))(texts)["input_ids"] == made(texts)["input_ids"]


def test_the_bundled_model_is_small() -> None:
    assert sum(file.stat().st_size for file in BUNDLED.iterdir()) <= 8_000_000


@pytest.mark.parametrize("split", Split)
def test_flashrag_rows_of_a_build_read_back(tmp_path: Path, split: Split) -> None:
    from innersearch.readers import read_questions

    write_data(WORLD, tmp_path)
    assert read_questions(tmp_path / "questions" / f"{split}.jsonl") == questions(WORLD, split)
