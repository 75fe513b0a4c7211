"""Records of trajectories: whatever wrote them, they are read in today's words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import TypedDict

from innersearch.errors import RunError
from innersearch.trajectories import as_trajectory, current, read_parts, read_trajectories, to_line
from innersearch.types import SCHEMA, StopReason, Trajectory

CALL = {"id": 0, "query": "who founded Coltek", "source": "retriever", "engine": "bm25"}
OLD: dict[str, Any] = {
    **{"uid": "q/0", "group_id": "q", "repetition": 0, "stop_reason": "length", "step": 3},
    "question": {"id": "q", "question": "Who?", "golden_answers": ["Belira"], "metadata": {}},
    "segments": [
        {
            **{"token_ids": [1, 2], "prompt_len": 1, "finish": "length"},
            **{"sampled_mask": [False, True], "loss_mask": [False, True], "logprobs": [None, -0.5]},
            "spans": [{"start": 1, "end": 2, "kind": "think", "source": "policy", "text": "x"}],
        }
    ],
    "calls": [CALL],
    "sampling": {"temperature": 1.0, "max_new_tokens": 4, "seed": 0},
}
"""As schema 1 wrote it."""


class Asked(TypedDict):
    input: str


class Searched(TypedDict):
    calls: list[Asked]


def file_of(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def read(path: Path) -> list[Trajectory]:
    return [as_trajectory(record, path.parent, place) for record, place in read_trajectories(path)]


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("stop", StopReason.ANSWER),
        ("length", StopReason.LENGTH),
        ("eos", StopReason.EOS),
        ("error", StopReason.ERROR),
    ],
)
def test_old_records_are_read_in_the_words_of_today(
    tmp_path: Path, written: str, reason: StopReason
) -> None:
    [found] = read(file_of(tmp_path / "t.jsonl", OLD | {"stop_reason": written}))
    assert (found.calls[0].input, found.calls[0].tool, found.calls[0].turn) == (
        CALL["query"],
        "search",
        0,
    )
    assert (found.stop_reason, found.schema) == (reason, 1)
    assert found.stop_reason.cut is (written == "length")
    assert found.segments[0].versions is None
    # What is written again is read again.
    assert as_trajectory(json.loads(to_line(found)), tmp_path, "line 1") == found


def test_every_stop_reason_says_how_the_last_generation_ended() -> None:
    """And those that records had before kept their names there."""
    assert {reason.finish.value for reason in StopReason if reason.cut} == {"length"}
    kept = {reason: reason.finish for reason in StopReason if not reason.cut}
    assert {str(r): str(f) for r, f in kept.items()} == {
        **{"eos": "eos", "answer": "stop", "malformed": "stop"},
        **{"timeout": "error", "error": "error"},
    }
    assert {reason for reason in StopReason if reason.failed} == {StopReason.TIMEOUT, StopReason.ERROR}


def test_records_of_newer_code_are_refused_and_damaged_ones_named(tmp_path: Path) -> None:
    newer = file_of(tmp_path / "t.jsonl", OLD | {"schema": SCHEMA + 1})
    with pytest.raises(RunError, match=r"schema 3 was written by a newer innersearch.* update it"):
        read(newer)
    without = {name: value for name, value in CALL.items() if name != "query"}
    damaged = file_of(tmp_path / "t.jsonl", OLD, OLD | {"calls": [without]})
    with pytest.raises(RunError, match=r"line 2 of t\.jsonl has no calls\.0\.input"):
        read(damaged)
    assert current({"calls": 3, "stop_reason": []}) == {"calls": 3, "stop_reason": [], "schema": 1}


def test_parts_of_records_are_read_in_the_words_of_today(tmp_path: Path) -> None:
    [found] = read_parts(file_of(tmp_path / "t.jsonl", OLD), Searched)
    assert found["calls"][0]["input"] == CALL["query"]
    with pytest.raises(RunError, match=r"line 1 of t\.jsonl has no calls"):
        list(read_parts(file_of(tmp_path / "t.jsonl", {"uid": "x"}), Searched))
