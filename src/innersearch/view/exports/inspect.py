"""Logs of inspect_ai, in its JSON format (version 2), which `inspect view` and `read_eval_log` open.

One log per evaluation, and one for training. They are written without inspect_ai; nothing of it need be
installed here.
"""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any

from innersearch.records import replace_text
from innersearch.runs import versions
from innersearch.stored import finite
from innersearch.types import StopReason, Trajectory
from innersearch.view.exports import ExportKind, Searching
from innersearch.view.exports.parts import Part, messages, parts

_LIMITS = {
    StopReason.TOKEN_BUDGET: "token",
    StopReason.TURN_LIMIT: "message",
    StopReason.TIMEOUT: "time",
}


def write(run: Path, output: Path, searching: Searching) -> str:
    """One log per part of the run."""
    for part in parts(run):
        log = _log(part)
        name = f"{log['eval']['created'].replace(':', '-')}_{part.name}_{log['eval']['task_id']}.json"
        text = json.dumps(finite(log), ensure_ascii=False, allow_nan=False)
        replace_text(output / name, text)
    return f"inspect view --log-dir {output}"


def _log(part: Part) -> dict[str, Any]:
    found, epochs = [], Counter[str]()
    for trajectory in part.trajectories():
        epochs[trajectory.question.id] += 1
        found.append(_sample(trajectory, epochs[trajectory.question.id]))
    when = datetime.fromtimestamp(part.file.stat().st_mtime, UTC).isoformat(timespec="seconds")
    return {
        "version": 2,
        "status": "success",
        "eval": _spec(part, when, list(epochs), max(epochs.values(), default=1)),
        "plan": {"name": "plan", "steps": [], "config": {}},
        "results": _results(found),
        "stats": {"started_at": when, "completed_at": when, "model_usage": {}},
        "samples": found,
    }


def _spec(part: Part, when: str, ids: Sequence[str], epochs: int) -> dict[str, Any]:
    identity = blake2b(f"{part.file.absolute()}{when}".encode(), digest_size=11).hexdigest()
    summary = part.summary()
    return {
        "eval_id": identity,
        "run_id": identity,
        "task_id": identity,
        "created": when,
        "task": part.name,
        "dataset": {"name": part.name, "samples": len(ids), "sample_ids": list(ids), "shuffled": False},
        "model": f"innersearch/{summary.get('model', 'policy')}",
        "config": {"epochs": epochs},
        "task_args": summary.get("settings", {}),
        "packages": versions(),
        "metadata": {"written_by": "innersearch export --to inspect"},
    }


def _sample(trajectory: Trajectory, epoch: int) -> dict[str, Any]:
    chat = [_message(message) for message in messages(trajectory)]
    answer = trajectory.answer
    scores = _scores(trajectory)
    limit = _LIMITS.get(trajectory.stop_reason)
    return {
        "id": trajectory.question.id,
        "epoch": epoch,
        "input": trajectory.question.question,
        "target": list(trajectory.question.golden_answers),
        "messages": chat,
        "output": {
            "model": "policy",
            "choices": [
                {"message": _last(chat), "stop_reason": "max_tokens" if limit == "token" else "stop"}
            ],
        },
        "scores": {name: {"value": value, "answer": answer} for name, value in scores.items()},
        "metadata": {
            "group": trajectory.question.group,
            "stop_reason": trajectory.stop_reason.value,
            "step": trajectory.step,
            "uid": trajectory.uid,
        },
        **({"error": _error(trajectory.error)} if trajectory.error is not None else {}),
    }


def _error(message: str) -> dict[str, str]:
    return {"message": message, "traceback": "", "traceback_ansi": ""}


def _scores(trajectory: Trajectory) -> dict[str, float]:
    reward = {} if trajectory.reward is None else {"reward": trajectory.reward}
    found = {**trajectory.components, **reward}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    if message["role"] == "assistant":
        calls = [{**call, "type": "function"} for call in message["tool_calls"]]
        return {**message, "tool_calls": calls or None, "source": "generate", "model": "policy"}
    if message["role"] == "tool":
        return {**message, "function": "search"}
    return {**message, "source": "input"}


def _last(chat: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The last reply; an empty one where the policy wrote nothing."""
    empty = {"role": "assistant", "content": "", "source": "generate"}
    return next((m for m in reversed(chat) if m["role"] == "assistant"), empty)


def _results(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    values: dict[str, list[float]] = defaultdict(list)
    for sample in samples:
        for name, score in sample["scores"].items():
            values[name].append(score["value"])
    return {
        "total_samples": len(samples),
        "completed_samples": sum("error" not in sample for sample in samples),
        "scores": [_score(name, found) for name, found in values.items()],
    }


def _score(name: str, found: Sequence[float]) -> dict[str, Any]:
    figures = {"mean": statistics.fmean(found)}
    if len(found) > 1:
        figures["stderr"] = statistics.stdev(found) / math.sqrt(len(found))
    metrics = {metric: {"name": metric, "value": value} for metric, value in figures.items()}
    return {"name": name, "scorer": name, "scored_samples": len(found), "metrics": metrics}


KIND = ExportKind("inspect", "logs that inspect view opens", write)
