"""What a training has spent, by its records: trajectories, tokens that the policy sampled, seconds.

    runs/<name>/spent.json           {"trajectories": …, "sampled_tokens": …, "seconds": …}

Of several stages and rounds it is the sum. Seconds are those of steps that are on record: what a killed
process did after its last checkpoint is not in them, and neither is the loading of models.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NamedTuple, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from innersearch.config import Recipe
from innersearch.records import write_json
from innersearch.runs import Run
from innersearch.stored import read_json, read_object, read_records

SPENT = "spent.json"
"""The file in the directory of a run."""
KEPT = "kept.json"
"""What a stage that learns by heart leaves: how many trajectories there were, how many were kept, and of
how many segments; tokens that the policy sampled, seconds in which it did (but those of a process that
was killed), tokens that the loss was on."""

Amount = Annotated[float, Field(ge=0)]
_Step = TypedDict(
    "_Step",
    {
        "policy/tokens": NotRequired[Amount],
        "policy/tokens_refilled": NotRequired[Amount],
        "group/refilled_share": NotRequired[Annotated[float, Field(ge=0, lt=1)]],
        "time/step_s": NotRequired[Amount],
    },
)


class _Kept(TypedDict):
    trajectories: Annotated[int, Field(ge=0)]
    sampled_tokens: NotRequired[Annotated[int, Field(ge=0)]]
    sampling_s: NotRequired[Amount]


class Spent(NamedTuple):
    """What it took."""

    trajectories: int
    """That were sampled, or read where a stage learns those of others."""
    sampled_tokens: int
    seconds: float

    def __str__(self) -> str:
        """In words."""
        counted = f"{self.trajectories:,} trajectories, {self.sampled_tokens:,} sampled tokens"
        return f"{counted}, {self.seconds:,.0f} s"


def spent(path: Path) -> Spent:
    """What the run in a directory has spent, all its stages together.

    Raises:
        DataError: A record is no JSON.
        RunError: A record is damaged.
    """
    stages = sorted(file.parent for file in path.glob("[0-9]*-*/recipe.json"))
    parts = [_of_stage(folder) for folder in stages or [path]]
    trajectories, tokens, seconds = (sum(column) for column in zip(*parts, strict=True))
    return Spent(int(trajectories), int(tokens), float(seconds))


def note_spent(path: Path) -> Spent:
    """Write what a run has spent beside its records."""
    found = spent(path)
    write_json(path / SPENT, found._asdict())
    return found


def _of_stage(path: Path) -> Spent:
    run = Run(path)
    steps = list(read_records(run.metrics, _Step))
    seconds = sum(step.get("time/step_s", 0.0) for step in steps)
    if (path / KEPT).is_file():
        kept = read_object(path / KEPT, _Kept)
        seconds += kept.get("sampling_s", 0.0)
        return Spent(kept["trajectories"], kept.get("sampled_tokens", 0), seconds)
    plan = Recipe.recorded(read_json(run.recipe)).trainer
    each = plan.prompts_per_step * plan.group_size
    tokens = sum(step.get("policy/tokens", 0.0) for step in steps)
    replaced = sum(step.get("policy/tokens_refilled", 0.0) for step in steps)
    sampled = sum(each / (1 - step.get("group/refilled_share", 0.0)) for step in steps)
    return Spent(round(sampled), round(each * tokens + replaced), seconds)
