"""A Hugging Face data set: Parquet files and a card, which `datasets.load_dataset(DIR)` reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from innersearch.records import replace_text
from innersearch.stored import finite
from innersearch.types import Trajectory
from innersearch.view.exports import ExportKind, Searching
from innersearch.view.exports.parts import Part, messages, parts

_CHUNK = 1_000
"""Trajectories that are held at once."""


def write(run: Path, output: Path, searching: Searching) -> str:
    """One configuration per evaluation, and one for training, each a Parquet file."""
    found = parts(run)
    counts = {part.name: _write_part(part, output / "data" / f"{part.name}.parquet") for part in found}
    replace_text(output / "README.md", _card(run, counts))
    first = found[0].name
    return f'datasets.load_dataset("{output}", "{first}", split="train")'


def _write_part(part: Part, path: Path) -> int:
    import pyarrow
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with parquet.ParquetWriter(path, _schema(pyarrow), compression="zstd") as file:
        for rows in _chunks(part):
            file.write_table(pyarrow.Table.from_pylist(rows, _schema(pyarrow)))
            written += len(rows)
    return written


def _chunks(part: Part) -> Iterator[list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    for trajectory in part.trajectories():
        rows.append(_row(trajectory))
        if len(rows) == _CHUNK:
            yield rows
            rows = []
    if rows:
        yield rows


def _schema(pyarrow: Any) -> Any:
    text, number, whole = pyarrow.string(), pyarrow.float64(), pyarrow.int64()
    message = pyarrow.struct([("role", text), ("content", text)])
    segment = pyarrow.struct(
        [
            ("token_ids", pyarrow.list_(whole)),
            ("prompt_len", whole),
            ("sampled_mask", pyarrow.list_(pyarrow.bool_())),
            ("loss_mask", pyarrow.list_(pyarrow.bool_())),
            ("logprobs", pyarrow.list_(number)),
        ]
    )
    call = pyarrow.struct([("tool", text), ("input", text), ("source", text), ("error", text)])
    return pyarrow.schema(
        [
            *((name, text) for name in ("uid", "question_id", "group_id", "question")),
            ("golden_answers", pyarrow.list_(text)),
            ("messages", pyarrow.list_(message)),
            *((name, text) for name in ("answer", "stop_reason", "error", "group")),
            ("reward", number),
            ("components", text),
            ("step", whole),
            ("repetition", whole),
            ("calls", pyarrow.list_(call)),
            ("segments", pyarrow.list_(segment)),
        ]
    )


def _row(trajectory: Trajectory) -> dict[str, Any]:
    question = trajectory.question
    names = ("token_ids", "prompt_len", "sampled_mask", "loss_mask", "logprobs")
    return {
        "uid": trajectory.uid,
        "question_id": question.id,
        "group_id": trajectory.group_id,
        "question": question.question,
        "golden_answers": list(question.golden_answers),
        "messages": [{"role": m["role"], "content": m["content"]} for m in messages(trajectory)],
        "answer": trajectory.answer,
        "stop_reason": trajectory.stop_reason.value,
        "error": trajectory.error,
        "group": question.group,
        "reward": trajectory.reward,
        "components": json.dumps(finite(trajectory.components)),
        "step": trajectory.step,
        "repetition": trajectory.repetition,
        "calls": [
            {"tool": c.tool, "input": c.input, "source": c.source.value, "error": c.error}
            for c in trajectory.calls
        ],
        "segments": [{name: getattr(s, name) for name in names} for s in trajectory.segments],
    }


def _card(run: Path, counts: dict[str, int]) -> str:
    lines = ["---", "configs:"]
    for name in counts:
        lines += [f"- config_name: {name}", "  data_files:", f"  - data/{name}.parquet"]
    lines += ["tags:", "- innersearch", "- search-agents", "- trajectories", "---", ""]
    lines += [f"# Trajectories of {run.absolute().name}", ""]
    lines += ["Written by `innersearch export --to hf`. A row is a trajectory: the question, messages,"]
    lines += ["calls, reward and its components (JSON), and per segment the tokens with the masks of"]
    lines += ["what was sampled and of what carries loss, and log-probabilities of sampled tokens.", ""]
    lines += ["| configuration | trajectories |", "|:--|--:|"]
    lines += [f"| {name} | {count:,} |" for name, count in counts.items()]
    return "\n".join([*lines, ""])


KIND = ExportKind("hf", "a Hugging Face data set: Parquet files and a card", write)
