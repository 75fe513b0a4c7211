"""Builds the embedded world from a seed: encyclopedia, questions, tokenizer, pre-trained model.

    <output>/encyclopedia.jsonl              passages: {"id", "title", "contents", "text", "url"}
    <output>/questions/{split}.jsonl         FlashRAG rows
    <output>/demonstrations.jsonl            one epoch of them, {"id", "prompt", "response"}
    <output>/model/                          Hugging Face model directory
    <output>/model/manifest.json             version, seed, hashes of the data, metrics of the model

The data is the same on any machine; the weights are the same up to rounding, which the metrics in
the manifest allow to check.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from innersearch.evaluate.run import EvalSettings, evaluate
from innersearch.locks import held
from innersearch.policy.transformers import TransformersPolicy
from innersearch.progress import Progress, silent
from innersearch.records import claim, write_json
from innersearch.runs import versions
from innersearch.types import Document, Question
from innersearch.world.bundled import VERSION
from innersearch.world.corpus import CorpusPlan, corpus, digest
from innersearch.world.encyclopedia import Encyclopedia, Population, Split
from innersearch.world.further import VOCABULARY, further_passages
from innersearch.world.pages import passages
from innersearch.world.questions import questions
from innersearch.world.relations import EntityKind
from innersearch.world.tokenizer import make_tokenizer
from innersearch.world_making.pretrain import PretrainPlan, pretrain

MANIFEST = "manifest.json"


def build(
    output: Path,
    seed: int,
    *,
    resume: bool = False,
    corpus_plan: CorpusPlan = CorpusPlan(),  # noqa: B008
    plan: PretrainPlan = PretrainPlan(),  # noqa: B008
    population: dict[EntityKind, Population] | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Build a world into `output` and return its manifest.

    Raises:
        RunError: `output` is not empty and `resume` is not given, or it holds something else.
    """
    settings: dict[str, Any] = {
        "world": VERSION,
        "seed": seed,
        "corpus": _as_stored(corpus_plan),
        "pretraining": _as_stored(plan),
    }
    if population:
        settings["population"] = {kind.value: asdict(counts) for kind, counts in population.items()}
    with held(output, "build"):
        return _build(output, settings, corpus_plan, plan, population, progress, resume=resume)


def _build(
    output: Path,
    settings: dict[str, Any],
    corpus_plan: CorpusPlan,
    plan: PretrainPlan,
    population: dict[EntityKind, Population] | None,
    progress: Progress,
    *,
    resume: bool,
) -> dict[str, Any]:
    claim(
        output,
        settings,
        resume=resume,
        what="build",
        otherwise="does not hold a build with these settings",
    )
    world = Encyclopedia.generate(settings["seed"], population)
    write_data(world, output)
    tokenizer = make_tokenizer(vocabulary(world, corpus_plan))
    model = pretrain(
        world,
        tokenizer,
        corpus_plan,
        plan,
        output / "checkpoints",
        lambda step, steps, loss: progress("pre-training", step, steps, f"loss {loss:.2f}"),
    )
    folder = output / "model"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    summary = _measure(model, tokenizer, world, output / "evaluation", progress)
    manifest = fingerprint(world, corpus_plan, plan) | {
        "parameters": model.num_parameters(),
        "metrics": summary,
        "versions": versions(),
    }
    write_json(folder / MANIFEST, manifest)
    shutil.rmtree(output / "checkpoints")
    return manifest


def vocabulary(world: Encyclopedia, plan: CorpusPlan) -> Iterator[str]:
    """Texts that hold every word of the world, that of its pages too."""
    yield from (text.text for text in corpus(world, plan, 0))
    yield from (f"{document.title} {document.text}" for document in passages(world))
    yield from VOCABULARY


def _measure(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    world: Encyclopedia,
    folder: Path,
    progress: Progress,
) -> dict[str, Any]:
    settings = EvalSettings(
        prompt="world", samples=16, sample_questions=24, max_new_tokens=256, seed=world.seed
    )
    shutil.rmtree(folder, ignore_errors=True)
    policy = TransformersPolicy.of(model, tokenizer, settings.max_batch)
    test = questions(world, Split.TEST)
    return evaluate(policy, tokenizer, test, folder, settings, progress=progress)


def write_data(world: Encyclopedia, output: Path) -> None:
    """Write the encyclopedia as a search corpus and the questions of every split."""
    _write_lines(
        output / "encyclopedia.jsonl", map(_corpus_row, [*passages(world), *further_passages(world)])
    )
    for split in Split:
        rows = map(asdict, questions(world, split))
        _write_lines(output / "questions" / f"{split}.jsonl", rows)


def fingerprint(world: Encyclopedia, corpus_plan: CorpusPlan, plan: PretrainPlan) -> dict[str, Any]:
    """Seed, settings and hashes of everything the weights are made from."""
    return {
        "world": VERSION,
        "seed": world.seed,
        "corpus": _as_stored(corpus_plan),
        "pretraining": _as_stored(plan),
        "corpus_sha256": [digest(corpus(world, corpus_plan, e)) for e in range(corpus_plan.epochs)],
        "questions_sha256": {split.value: _hash(questions(world, split)) for split in Split},
        "encyclopedia_sha256": _hash([*passages(world), *further_passages(world)]),
    }


def _as_stored(plan: CorpusPlan | PretrainPlan) -> dict[str, Any]:
    """A plan as it reads back from JSON."""
    return dict(json.loads(json.dumps(asdict(plan))))


def _hash(found: Iterable[Question | Document]) -> str:
    sha = hashlib.sha256()
    for question in found:
        sha.update((json.dumps(asdict(question)) + "\n").encode())
    return sha.hexdigest()


def _corpus_row(document: Document) -> dict[str, str]:
    contents = f'"{document.title}"\n{document.text}'
    return {
        "id": document.id,
        "title": document.title,
        "text": document.text,
        "contents": contents,
        "url": document.url or "",
    }


def _write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text("".join(lines), encoding="utf-8")
