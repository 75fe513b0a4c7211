"""What a run holds to hand on: its evaluations and its training, and a trajectory as messages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict

from innersearch.errors import DataError
from innersearch.stored import Record, read_object
from innersearch.trajectories import as_trajectory, read_trajectories
from innersearch.types import Kind, Segment, Source, Trajectory

FILE = "trajectories.jsonl"
OWN = (Source.POLICY, Source.SELF_SEARCH)


@dataclass(frozen=True, slots=True)
class Part:
    """An evaluation, or the training."""

    name: str
    """Made of letters, digits and single dashes."""
    file: Path

    def trajectories(self) -> Iterator[Trajectory]:
        """All of them, in order; errors as `as_trajectory`."""
        for record, place in read_trajectories(self.file):
            yield as_trajectory(record, self.file.parent, place)

    def summary(self) -> Record:
        """What summary.json of an evaluation holds; nothing for training."""
        path = self.file.parent / "summary.json"
        return read_object(path, _Any) if path.is_file() else {}


class _Any(TypedDict):
    """Whatever is there."""


def parts(run: Path) -> list[Part]:
    """The parts of a run, an evaluation, or a file of trajectories.

    Raises:
        DataError: There are none.
    """
    if run.is_file():
        return [Part(_plain(run.stem), run)]
    found = [Part(_plain(f.parent.name), f) for f in sorted(run.glob(f"eval/*/{FILE}"))]
    if (run / FILE).is_file():
        alone = _plain(run.absolute().name)
        found.append(Part("training" if (run / "recipe.json").is_file() else alone, run / FILE))
    if not found:
        raise DataError(f"{run} holds no {FILE}: give a run, an evaluation, or a file of trajectories")
    return found


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-") or "run"


def messages(trajectory: Trajectory) -> list[dict[str, Any]]:
    """A trajectory as a chat: the question, what the policy wrote, and what it was given as results of
    tools; calls stand with the reply that made them, as chat APIs have them.
    """
    found: list[dict[str, Any]] = [{"role": "user", "content": trajectory.question.question}]
    for segment in trajectory.segments:
        for own, text, calls in _turns(segment):
            if own:
                found.append({"role": "assistant", "content": text, "tool_calls": []})
                continue
            if found[-1]["role"] == "assistant":
                made = [_call(trajectory, number) for number in calls]
                found[-1]["tool_calls"] += [call for call in made if call]
            known = calls[0] if calls else None
            found.append({"role": "tool", "content": text, "tool_call_id": f"call-{known}"})
    return found


def _turns(segment: Segment) -> Iterator[tuple[bool, str, list[int]]]:
    """Runs of spans of one author: whether the policy wrote them, their text, their calls."""
    own: bool | None = None
    text, calls = "", list[int]()
    for span in segment.spans:
        if span.kind is Kind.PROMPT:
            continue
        mine = span.source in OWN
        if own is not None and mine is not own and (span.text.strip() or mine is False):
            yield own, text, calls
            text, calls = "", []
        own = mine
        text += span.text
        if not mine and span.call_id is not None and span.call_id not in calls:
            calls.append(span.call_id)
    if own is not None and text.strip():
        yield own, text, calls


def _call(trajectory: Trajectory, number: int) -> dict[str, Any] | None:
    for call in trajectory.calls:
        if call.id == number:
            return {"id": f"call-{number}", "function": call.tool, "arguments": {"input": call.input}}
    return None
